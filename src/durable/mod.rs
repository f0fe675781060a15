//! Durable Objects: lock, load, decide, commit, announce. Nobody writes an internal URL by hand:
//! commands are these enums, with their bodies.

pub mod commands;

pub use commands::{
    Announcement, ChangeMembership, CreateRoom, GuardCommand, GuardReply, MembershipAction,
    NewEvent, RoomCommand, RoomReply, SendEvent, TransactionKey, Waiter,
};
