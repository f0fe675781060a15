//! How far somebody has read. Client-Server API, "Receipts" and "Fully read markers".

use ruma::api::client::read_marker::set_read_marker;
use ruma::api::client::receipt::create_receipt::{self, v3::ReceiptType};
use ruma::events::room::member::MembershipState;
use ruma::{OwnedEventId, OwnedRoomId};

use super::access::{Access, Caller};
use super::endpoint::{Route, batched};
use crate::accounts::presence;
use crate::durable::{Announcement, PushCommand, RoomCommand};
use crate::error::ApiError;
use crate::storage::database::{Results, Statement};
use crate::storage::local_memberships::{self, MembershipRow};
use crate::storage::push_queue::{self, UserRow};
use crate::storage::read_markers;
use crate::storage::receipts::{self, EventOrderRow, Receipt, RelatedRow};

pub fn routes() -> Vec<Route> {
    vec![batched(create), batched(set_markers)]
}

/// What one request marks as read.
struct Marks {
    room_id: OwnedRoomId,
    fully_read: Option<OwnedEventId>,
    /// Receipts with their types.
    receipts: Vec<(&'static str, OwnedEventId)>,
    thread_id: Option<String>,
}

/// `POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}`
async fn create(
    access: Access,
    request: create_receipt::v3::Request,
) -> Result<create_receipt::v3::Response, ApiError> {
    let thread_id = request.thread.as_str().map(str::to_owned);
    let (fully_read, receipts) = match request.receipt_type {
        ReceiptType::FullyRead if thread_id.is_some() => {
            return Err(ApiError::invalid_param("m.fully_read does not go with a thread_id"));
        }
        ReceiptType::FullyRead => (Some(request.event_id), Vec::new()),
        ReceiptType::Read => (None, vec![("m.read", request.event_id)]),
        ReceiptType::ReadPrivate => (None, vec![("m.read.private", request.event_id)]),
        _ => {
            let message = "The type of a receipt is m.read, m.read.private or m.fully_read";
            return Err(ApiError::invalid_param(message));
        }
    };
    mark(access, Marks { room_id: request.room_id, fully_read, receipts, thread_id }).await?;
    Ok(create_receipt::v3::Response::new())
}

/// `POST /_matrix/client/v3/rooms/{roomId}/read_markers`
async fn set_markers(
    access: Access,
    request: set_read_marker::v3::Request,
) -> Result<set_read_marker::v3::Response, ApiError> {
    let receipts =
        [("m.read", request.read_receipt), ("m.read.private", request.private_read_receipt)];
    let receipts = receipts.into_iter().filter_map(|(kind, event_id)| Some((kind, event_id?)));
    let marks = Marks {
        room_id: request.room_id,
        fully_read: request.fully_read,
        receipts: receipts.collect(),
        thread_id: None,
    };
    mark(access, marks).await?;
    Ok(set_read_marker::v3::Response::new())
}

async fn mark(access: Access, marks: Marks) -> Result<(), ApiError> {
    let reads = marks.reads(access.token()?);
    let (caller, results) = access.authenticate_with(reads).await?;
    caller.must_not_be_guest()?;
    let mut writes = marks.decide(&caller, &mut Results::new(results))?;
    if writes.is_empty() {
        return Ok(());
    }
    let (marked, actor) = (writes.len(), caller.actor());
    writes.push(push_queue::select_user(&caller.user_id));
    writes.extend(presence::rouse(&actor));
    let mut results = Results::new(caller.context.batch(writes).await?);
    results.skip(marked);
    let pushed = results.rows::<UserRow>()?.into_iter().map(|row| row.user_id).collect();
    caller.context.push(pushed, PushCommand::Read);
    presence::roused(&actor, &results.rows()?);
    if marks.receipts.iter().any(|(kind, _)| *kind == "m.read") {
        wake_room(&caller, marks.room_id);
    } else {
        caller.context.announce(Announcement::Users(vec![caller.user_id]));
    }
    Ok(())
}

fn wake_room(caller: &Caller, room_id: OwnedRoomId) {
    let platform = caller.context.platform.clone();
    caller.context.platform.spawn(Box::pin(async move {
        // The receipt is written: who is not woken sees it with the next sync.
        if let Err(error) = platform.room(&room_id, RoomCommand::Announce).await {
            crate::log::warn(&format!("a receipt in {room_id} woke nobody: {error}"));
        }
    }));
}

impl Marks {
    fn reads(&self, token: &str) -> Vec<Statement> {
        let mut reads = vec![local_memberships::select(token, &self.room_id)];
        let events = self.fully_read.iter().chain(self.receipts.iter().map(|(_, id)| id));
        for event_id in events {
            reads.push(receipts::select_event_order(&self.room_id, event_id));
        }
        if let (Some(_), Some((_, event_id))) = (&self.thread_id, self.receipts.first()) {
            reads.push(receipts::select_related(event_id));
        }
        reads
    }

    fn decide(&self, caller: &Caller, results: &mut Results) -> Result<Vec<Statement>, ApiError> {
        let membership: Option<MembershipRow> = results.first()?;
        let is_joined = membership.as_ref().is_some_and(|m| m.membership == MembershipState::Join);
        if membership.is_none() || (!is_joined && !self.receipts.is_empty()) {
            return Err(ApiError::forbidden(format!("You are not in {}", self.room_id)));
        }
        let mut writes = Vec::new();
        if let Some(event_id) = &self.fully_read {
            if results.first::<EventOrderRow>()?.is_none() {
                let message = format!("There is no event {event_id} in {}", self.room_id);
                return Err(ApiError::not_found(message));
            }
            writes.extend(read_markers::set(&caller.user_id, &self.room_id, event_id));
        }
        for (receipt_type, event_id) in &self.receipts {
            // As in Synapse, a receipt for an event that we do not have says nothing.
            if results.first::<EventOrderRow>()?.is_some() {
                writes.extend(receipts::set(&Receipt {
                    room_id: &self.room_id,
                    receipt_type,
                    user_id: &caller.user_id,
                    event_id,
                    thread_id: self.thread_id.as_deref(),
                    ts_ms: caller.context.now_ms(),
                }));
            }
        }
        if let Some(thread_id) = &self.thread_id
            && !is_in_thread(&results.rows::<RelatedRow>()?, thread_id)
        {
            let message = format!("The event is not related to the thread {thread_id:?}");
            return Err(ApiError::invalid_param(message));
        }
        Ok(writes)
    }
}

/// An event belongs to a thread if it is its root or relates to it, maybe by way of others; and
/// to the main timeline if nothing on that way belongs to a thread.
fn is_in_thread(related: &[RelatedRow], thread_id: &str) -> bool {
    if thread_id == "main" {
        return related.iter().all(|row| row.relation_type.as_deref() != Some("m.thread"));
    }
    related.iter().any(|row| row.event_id == thread_id)
}
