//! Durable Objects: lock, load, decide, commit, announce. Nobody writes an internal URL by hand:
//! commands are these enums, with their bodies.

mod account_guard;
pub mod buckets;
pub mod commands;
mod push_sender;
pub mod room;
mod service_sender;
pub mod sync_notifier;

pub use account_guard::AccountGuard;
pub use commands::{
    Announcement, ChangeMembership, CreateRoom, DelayEvent, Delayed, GuardCommand, GuardReply,
    KnownParent, MembershipAction, NewEvent, News, PresumedToken, PushCommand, RoomCommand,
    RoomReply, SendEvent, TransactionKey, Waited, Waiter,
};
pub use push_sender::PushSender;
pub use service_sender::ServiceSender;
pub use sync_notifier::Announced;
