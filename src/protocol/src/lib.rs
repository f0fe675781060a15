//! Matrix as values and functions: no I/O, no clock, no randomness.
//!
//! | module | owns |
//! |---|---|
//! | `room_version` | the supported room versions and their rules |
//! | `cas` | what a CAS server says of a ticket |
//! | `canonical_json` | JSON as it is hashed and signed |
//! | `signing_key` | the server's ed25519 key and its file format |
//! | `cross_signing` | cross-signing keys and what they sign |
//! | `device_keys` | the keys that a client uploads for its device |
//! | `pdu` | a stored event |
//! | `event_builder` | making an event: limits, hash, signature, id |
//! | `application_service` | registrations of bridges, and what they are about |
//! | `auth` | selection of auth events, authorisation, redaction rights |
//! | `room_state` | power levels, join rule, history visibility, membership, creators |
//! | `state_resolution` | the state of a room where its history forks |
//! | `redaction` | what is left of a redacted event |
//! | `client_event` | events as clients see them |
//! | `create_room` | the events that make a room, from the options of createRoom |
//! | `initial_power_levels` | the power levels among them |
//! | `relations` | edits, references, threads: which count, and how they are shown |
//! | `room_upgrade` | the events that make the room that replaces another |
//! | `filter` | which events and fields a client wants |
//! | `media` | files and previews: how they are handed out, thumbnails, addresses, pages |
//! | `key_backup` | backups of message keys |
//! | `login_identifier` | whom a login names |
//! | `password` | passwords in the form that is hashed |
//! | `presence` | how long somebody is online |
//! | `push_rules` | the push rules that everyone starts with |
//! | `sliding_sync` | what a client looks at, what it has been told, what it lacks |
//! | `space` | rooms of a space: who may know of them, their order, walks through them |
//! | `sync` | what a sync tells of rooms: which events, which state |
//! | `push_rules` | the push rules that everyone starts with, and what users make of them |
//! | `push_evaluation` | what rules make of one event |
//! | `push_audience` | who of a room is to be notified |
//! | `search_terms` | words, and what somebody searches for |
//! | `sync_token` | positions that clients keep |
//! | `self_destruction` | messages that say until when they may be read |
//! | `to_device` | messages to devices |
//! | `thread_subscriptions` | the threads that a user follows |
//! | `token` | access and refresh tokens |
//! | `user_interactive` | user-interactive authentication: flows, stages, challenges |
//! | `user_name` | names of accounts |
//! | `user_search` | how people are found by their names |
//! | `visibility` | which events a user may see |

pub mod application_service;
pub mod auth;
pub mod canonical_json;
pub mod cas;
pub mod client_event;
pub mod create_room;
pub mod cross_signing;
pub mod device_keys;
pub mod event_builder;
pub mod filter;
mod initial_power_levels;
pub mod key_backup;
pub mod login_identifier;
pub mod media;
pub mod membership_change;
pub mod password;
pub mod pdu;
pub mod presence;
pub mod push_audience;
pub mod push_evaluation;
pub mod push_gateway;
pub mod push_rule_list;
pub mod push_rules;
pub mod redaction;
pub mod relations;
pub mod room_snapshot;
pub mod room_state;
pub mod room_upgrade;
pub mod room_version;
pub mod search_terms;
pub mod self_destruction;
pub mod signing_key;
pub mod sliding_sync;
pub mod space;
pub mod state_resolution;
pub mod sync;
pub mod sync_token;
pub mod thread_subscriptions;
pub mod to_device;
pub mod token;
pub mod user_interactive;
pub mod user_name;
pub mod user_search;
pub mod visibility;

#[cfg(test)]
mod test_room;
#[cfg(test)]
mod vector_tests;
