//! What a sync tells of rooms: pure assembly over what was read of the log at one position.
//!
//! 1. [`windows`]: which rooms, and which part of each one's stream is new to the client.
//! 2. [`room`]: of one room's excerpt the timeline, whether it is cut short, and where it begins.
//! 3. [`members`]: whose memberships a client that loads them lazily needs.
//! 4. [`state`]: which state events go with a timeline.
//!
//! Every protocol of syncing says with [`Wanted`] how much it wants, and serves what comes out.
//! Invariant: a timeline is the end of what is new, and what it leaves out of it lies before
//! `prev_position`, or is none of the reader's.

pub mod device_lists;
pub mod members;
pub mod room;
pub mod state;
pub mod wanted;
pub mod windows;

pub use device_lists::{DeviceLists, MeetingPlace};
pub use members::Member;
pub use room::{Entry, Excerpt, RoomHistory, RoomLog};
pub use state::{StateChange, StateIds, StateKey};
pub use wanted::Wanted;
pub use windows::{JoinedRoom, Membership, MembershipChange, RoomWindow, Section, Windows};

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod test_log;
