//! Simplified sliding sync (MSC4186): what a client looks at, what it has been told, what it lacks.
//!
//! 1. [`request`]: what it asks for: lists, single rooms, extensions.
//! 2. [`lists`]: which rooms that is now.
//! 3. [`connection`]: what it has been told over the connection, kept for each [`position`].
//! 4. [`plan`]: which rooms are told of, from where on, and which state, by [`required_state`].
//!
//! The timeline and the changes of the state are those of [`crate::sync`].

pub mod connection;
pub mod lists;
pub mod plan;
pub mod position;
pub mod request;
pub mod required_state;

pub use connection::{Connection, Sent, SentRoom};
pub use lists::{ListView, Rooms, UserRoom, View};
pub use plan::{RoomPlan, RoomState};
pub use position::Position;
pub use request::{InvalidRequest, RoomConfig, SlidingSyncRequest};
pub use required_state::{Pattern, RequiredState};
