//! The table of all endpoints: one line each. Paths, methods and shapes come from ruma.

mod access;
mod account;
mod account_data;
mod administration;
mod auth_fallback;
mod cross_signing;
mod dehydrated_devices;
mod delayed_events;
mod devices;
mod directory;
mod dispatch;
mod endpoint;
mod events;
mod filters;
mod initial_sync;
mod keys_changes;
mod keys_query;
mod keys_upload;
mod login;
mod long_poll;
mod media_download;
mod media_preview;
mod media_upload;
mod membership;
mod meta;
mod moderation;
mod mutual_rooms;
mod notifications;
mod openid;
mod page;
mod presence;
mod profile;
mod public_rooms;
mod push_rule_changes;
mod push_rules;
mod pushers;
mod receipts;
mod register;
mod relations;
mod reports;
mod room_create;
mod room_event;
mod room_keys;
mod room_members;
mod room_messages;
mod room_read;
mod room_send;
mod room_state;
mod room_summary;
mod room_upgrade;
mod rtc;
mod search;
mod search_context;
mod service_accounts;
mod service_ping;
mod single_sign_on;
mod sliding_sync;
mod space_hierarchy;
mod sync;
mod tags;
mod third_party;
mod thread_subscriptions;
mod threads;
mod threepids;
mod to_device;
mod typing;
mod user_directory;
mod user_interactive;
mod voip;
mod whois;

pub use access::{Access, Caller};
pub use dispatch::{Answer, dispatch, error_answer};
pub use endpoint::{Incoming, Route};
pub use media_upload::takes_a_file;

use endpoint::{authenticated, batched, json, public, raw};

/// Every endpoint of this server, in the order of the specification's sections.
pub fn table() -> Vec<Route> {
    [
        meta::routes(),
        register::routes(),
        login::routes(),
        single_sign_on::routes(),
        account::routes(),
        devices::routes(),
        dehydrated_devices::routes(),
        administration::routes(),
        auth_fallback::routes(),
        room_create::routes(),
        room_send::routes(),
        delayed_events::routes(),
        room_upgrade::routes(),
        membership::routes(),
        account_data::routes(),
        filters::routes(),
        notifications::routes(),
        openid::routes(),
        presence::routes(),
        profile::routes(),
        push_rule_changes::routes(),
        push_rules::routes(),
        pushers::routes(),
        receipts::routes(),
        room_keys::routes(),
        keys_upload::routes(),
        keys_query::routes(),
        keys_changes::routes(),
        cross_signing::routes(),
        sync::routes(),
        to_device::routes(),
        sliding_sync::routes(),
        tags::routes(),
        third_party::routes(),
        service_ping::routes(),
        threepids::routes(),
        typing::routes(),
        user_directory::routes(),
        media_upload::routes(),
        media_download::routes(),
        media_preview::routes(),
        voip::routes(),
        rtc::routes(),
        search::routes(),
        reports::routes(),
        mutual_rooms::routes(),
        whois::routes(),
        moderation::routes(),
        room_state::routes(),
        room_members::routes(),
        room_messages::routes(),
        room_event::routes(),
        relations::routes(),
        threads::routes(),
        thread_subscriptions::routes(),
        directory::routes(),
        public_rooms::routes(),
        room_summary::routes(),
        space_hierarchy::routes(),
        initial_sync::routes(),
        events::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
