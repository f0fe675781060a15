//! All SQL. One file owns one family of Synapse's tables; reads give typed rows, writes are
//! returned as statements, so that the caller commits one batch.

pub mod access_tokens;
pub mod account_data;
pub mod database;
pub mod device_lists;
pub mod devices;
pub mod event_pages;
pub mod event_push_actions;
pub mod events;
pub mod install;
pub mod local_memberships;
pub mod open_id_tokens;
pub mod presence;
pub mod profiles;
pub mod public_rooms;
pub mod push_rules;
pub mod pushers;
pub mod read_markers;
pub mod receipts;
pub mod registration_tokens;
pub mod room_aliases;
pub mod room_key_versions;
pub mod room_log;
pub mod room_members;
pub mod room_state_log;
pub mod room_tags;
pub mod rooms;
pub mod schema;
pub mod state_groups;
pub mod stream_positions;
pub mod typing;
pub mod ui_auth_sessions;
pub mod user_filters;
pub mod user_threepids;
pub mod users;
