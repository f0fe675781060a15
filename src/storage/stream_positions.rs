//! `stream_positions`: how far each stream has been written.
//!
//! Invariant: a position is taken inside the batch that writes the rows which carry it, so it
//! becomes visible together with them, in order. Streams that share a counter share a name here.

use serde::Deserialize;

use super::database::Statement;

/// A bound for "up to now": a batch sees one state of the log, so reads of the batch that also
/// reads the positions need no other.
pub const NOW: i64 = (1 << 53) - 1;

/// A counter, under the name that Synapse gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamName {
    /// `account_data`, `room_account_data` and `room_tags_revisions`.
    AccountData,
    Backfill,
    /// `device_lists_stream`, `user_signature_stream` and what tells others of both.
    DeviceLists,
    CrossSigningKeys,
    /// Events and `current_state_delta_stream`.
    Events,
    Presence,
    PushRules,
    Pushers,
    Receipts,
    ThreadSubscriptions,
    /// `device_inbox` and `device_federation_outbox`.
    ToDevice,
    Typing,
}

impl StreamName {
    /// The value of `stream_name`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccountData => "account_data",
            Self::Backfill => "backfill",
            Self::DeviceLists => "device_lists_stream",
            Self::CrossSigningKeys => "e2e_cross_signing_keys",
            Self::Events => "events",
            Self::Presence => "presence_stream",
            Self::PushRules => "push_rules_stream",
            Self::Pushers => "pushers",
            Self::Receipts => "receipts",
            Self::ThreadSubscriptions => "thread_subscriptions",
            Self::ToDevice => "to_device",
            Self::Typing => "typing",
        }
    }
}

/// Takes the next position; [`current`] reads it in the statements after this one.
pub fn advance(stream: StreamName) -> Statement {
    Statement::new(
        "UPDATE stream_positions SET stream_id = stream_id + 1
         WHERE stream_name = ?1 AND instance_name = 'master'",
    )
    .bind(stream.as_str())
}

/// The SQL of a stream's position, as one term of an expression.
pub fn current(stream: StreamName) -> String {
    let name = stream.as_str();
    format!(
        "(SELECT stream_id FROM stream_positions
          WHERE stream_name = '{name}' AND instance_name = 'master')"
    )
}

#[derive(Debug, Deserialize)]
pub struct PositionRow {
    pub stream_name: String,
    pub stream_id: i64,
}

/// Reads one [`PositionRow`] for each stream.
pub fn select_all() -> Statement {
    Statement::new(
        "SELECT stream_name, stream_id FROM stream_positions WHERE instance_name = 'master'",
    )
    .small::<PositionRow>()
}

/// Reads ONE row with the positions of these streams by name: one row read for each, where
/// [`select_all`] reads them all.
pub fn select_some(streams: &[StreamName]) -> Statement {
    let column = |stream: &StreamName| format!("{} AS {}", current(*stream), stream.as_str());
    let columns: Vec<String> = streams.iter().map(column).collect();
    let names: Vec<&str> = streams.iter().map(|stream| stream.as_str()).collect();
    Statement::new(format!("SELECT {}", columns.join(", "))).small_of(&names)
}
