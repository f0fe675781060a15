//! Whether what was asked has been written: by the transactions that this writer remembers, and
//! after a commit of unknown outcome by a look into the log.

use std::collections::{HashMap, HashSet, VecDeque};

use ruma::{OwnedRoomId, RoomId};

use super::Room;
use super::decide::{Decided, Outcome};
use crate::context::Context;
use crate::durable::{RoomReply, TransactionKey};
use crate::error::ApiError;
use crate::storage::database::Results;
use crate::storage::room_log::{self, LandedRow, TransactionEventRow};

/// Transactions remembered, so that two equal requests at once make one event. Of what is older
/// the log knows: the Worker has looked there before, or the commit fails.
const TRANSACTIONS_MAX: usize = 2000;

/// The answers of the latest transactions.
#[derive(Default)]
pub struct RecentTransactions {
    replies: HashMap<TransactionKey, RoomReply>,
    order: VecDeque<TransactionKey>,
}

impl RecentTransactions {
    pub fn find(&self, key: &TransactionKey) -> Option<RoomReply> {
        self.replies.get(key).cloned()
    }

    pub fn insert(&mut self, key: TransactionKey, reply: RoomReply) {
        if self.replies.insert(key.clone(), reply).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > TRANSACTIONS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.replies.remove(&oldest);
            }
        }
    }
}

impl Room {
    /// Remembers the transactions that have been found in the log.
    pub(super) fn remember_found(
        &self,
        decided: &Decided,
        found: &[Option<Result<RoomReply, ApiError>>],
    ) {
        let mut transactions = self.transactions.borrow_mut();
        for (outcome, reply) in decided.outcomes.iter().zip(found) {
            let (Outcome::Event(index), Some(Ok(reply))) = (outcome, reply) else { continue };
            if let Some(key) = &decided.events[*index].transaction {
                transactions.insert(key.clone(), reply.clone());
            }
        }
    }

    /// Remembers the transactions of a commit that has landed.
    pub(super) fn remember_transactions(&self, decided: &Decided, newest: i64) {
        let mut transactions = self.transactions.borrow_mut();
        let count = decided.events.len();
        for (index, written) in decided.events.iter().enumerate() {
            if let Some(key) = &written.transaction {
                let event_id = written.event.event_id.clone();
                let stream_ordering = newest - (count - 1 - index) as i64;
                transactions.insert(key.clone(), RoomReply::Event { event_id, stream_ordering });
            }
        }
    }
}

/// Looks the events and the transactions of a group up. `None` for a command that has to be
/// decided once more.
pub async fn find(
    context: &Context,
    room_id: &OwnedRoomId,
    decided: &Decided,
) -> Result<Vec<Option<Result<RoomReply, ApiError>>>, ApiError> {
    let event_ids: Vec<&str> =
        decided.events.iter().map(|written| written.event.event_id.as_str()).collect();
    let mut batch = vec![room_log::select_landed(&event_ids)];
    let keys: Vec<Option<&TransactionKey>> =
        decided.events.iter().map(|written| written.transaction.as_ref()).collect();
    batch.extend(keys.iter().flatten().map(|key| select_transaction(room_id, key)));
    let mut results = Results::new(context.batch(batch).await?);
    let landed: HashMap<String, i64> = results
        .rows::<LandedRow>()?
        .into_iter()
        .map(|row| (row.event_id.to_string(), row.stream_ordering))
        .collect();
    let mut of_transaction = Vec::with_capacity(keys.len());
    for key in &keys {
        let row: Option<TransactionEventRow> = if key.is_some() { results.first()? } else { None };
        of_transaction.push(row.map(|row| row.event_id));
    }
    let seen: HashSet<&str> = landed.keys().map(String::as_str).collect();
    let event = |index: usize| {
        let event_id = &decided.events[index].event.event_id;
        match (landed.get(event_id.as_str()), &of_transaction[index]) {
            (Some(position), _) => {
                Some(RoomReply::Event { event_id: event_id.clone(), stream_ordering: *position })
            }
            (None, Some(other)) => {
                Some(RoomReply::Event { event_id: other.clone(), stream_ordering: 0 })
            }
            (None, None) => None,
        }
    };
    let created = |index: usize| {
        let event_id = decided.events[index].event.event_id.as_str();
        let room_id = room_id.clone();
        let stream_ordering = landed.get(event_id).copied().unwrap_or(0);
        seen.contains(event_id).then_some(RoomReply::Created { room_id, stream_ordering })
    };
    let outcomes = decided.outcomes.iter().map(|outcome| match outcome {
        Outcome::Reply(Err(error)) => Some(Err(error.clone())),
        // It may stand on an event of this group that did not land.
        Outcome::Reply(Ok(_)) => None,
        Outcome::Event(index) => event(*index).map(Ok),
        Outcome::Created(index) => created(*index).map(Ok),
    });
    Ok(outcomes.collect())
}

fn select_transaction(
    room_id: &RoomId,
    key: &TransactionKey,
) -> crate::storage::database::Statement {
    let (user_id, device_id) = (key.user_id.as_str(), key.device_id.as_str());
    room_log::select_transaction(room_id.as_str(), user_id, device_id, &key.txn_id)
}
