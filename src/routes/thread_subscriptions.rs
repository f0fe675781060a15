//! The threads that a user follows: MSC4306, and MSC4308 for the list of changes.

use http::Method;
use myelin_protocol::relations::{Relation, THREAD};
use myelin_protocol::thread_subscriptions::{
    LIST_DEFAULT, LIST_MAX, Place, Subscribe, Subscription, SubscriptionChanges,
    SubscriptionsToken, list_changes, subscribe,
};
use ruma::{EventId, OwnedEventId, OwnedRoomId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::room_read::RoomRead;
use super::{Access, Answer, Incoming, Route, json as answer, raw};
use crate::durable::Announcement;
use crate::error::{ApiError, ErrorCode};
use crate::serving::{StoredEvent, judged};
use crate::storage::database::{Results, Statement};
use crate::storage::event_pages;
use crate::storage::stream_positions::NOW;
use crate::storage::thread_subscriptions::{self as storage, ChangeRow, SubscriptionRow};

const PATH: &[&str] = &[
    "/_matrix/client/unstable/io.element.msc4306/rooms/{room_id}/thread/{thread_root}/subscription",
];
const LIST: &[&str] = &["/_matrix/client/unstable/io.element.msc4308/thread_subscriptions"];

pub fn routes() -> Vec<Route> {
    vec![
        raw(Method::GET, PATH, get_subscription),
        raw(Method::PUT, PATH, put_subscription),
        raw(Method::DELETE, PATH, delete_subscription),
        raw(Method::GET, LIST, list_subscriptions),
    ]
}

/// A thread that the caller may see, and what they have decided about it.
struct Thread {
    read: RoomRead,
    root: OwnedEventId,
    subscription: Option<Subscription>,
    /// The event for which a client subscribes on its own.
    cause: Option<StoredEvent>,
}

impl Thread {
    async fn find(
        access: Access,
        incoming: &Incoming,
        cause: Option<&EventId>,
    ) -> Result<Self, ApiError> {
        let (room_id, root): (OwnedRoomId, OwnedEventId) = (incoming.id(0)?, incoming.id(1)?);
        let asked = [Some(&*root), cause];
        let statements = |reader: &str| {
            let event = |event_id| judged(event_pages::of_room(&room_id, event_id), reader);
            let mut batch: Vec<Statement> = asked.into_iter().flatten().flat_map(event).collect();
            batch.push(storage::select(reader, &room_id, &root));
            batch
        };
        let mut read = RoomRead::begin(access, room_id.clone(), statements).await?;
        if read.event()?.is_none() {
            return Err(ApiError::not_found("No such thread root"));
        }
        let event = if cause.is_some() { read.event()? } else { None };
        if cause.is_some() && event.is_none() {
            return Err(ApiError::not_found("Automatic subscription event not found"));
        }
        let row: Option<SubscriptionRow> = read.results.first()?;
        Ok(Self { read, root, subscription: row.map(Subscription::from), cause: event })
    }

    async fn write(&self, statements: [Statement; 2]) -> Result<(), ApiError> {
        let caller = &self.read.caller;
        caller.context.batch(statements.to_vec()).await?;
        caller.context.announce(Announcement::Users(vec![caller.user_id.clone()]));
        Ok(())
    }
}

/// `GET .../rooms/{roomId}/thread/{threadRoot}/subscription`
async fn get_subscription(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let thread = Thread::find(access, &incoming, None).await?;
    match thread.subscription {
        Some(Subscription::Subscribed { automatic }) => answer(&json!({ "automatic": automatic })),
        _ => Err(ApiError::not_found("Not subscribed.")),
    }
}

#[derive(Deserialize)]
struct NewSubscription {
    automatic: Option<OwnedEventId>,
}

/// `PUT .../rooms/{roomId}/thread/{threadRoot}/subscription`
async fn put_subscription(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    if !access.has_token() {
        return Err(ApiError::missing_token());
    }
    let new: NewSubscription = incoming.json()?;
    let thread = Thread::find(access, &incoming, new.automatic.as_deref()).await?;
    let is_in_thread = |event: &StoredEvent| {
        Relation::of_pdu(&event.pdu).is_some_and(|relation| {
            relation.rel_type == THREAD && relation.event_id == thread.root.as_str()
        })
    };
    if !thread.cause.as_ref().is_none_or(is_in_thread) {
        let message = "Automatic subscription must use an event in the thread";
        return Err(ApiError::new(ErrorCode::NotInThread, message));
    }
    let cause = thread.cause.as_ref().map(|event| Place {
        stream_ordering: event.stream_ordering,
        topological_ordering: event.topological_ordering,
    });
    match subscribe(thread.subscription, cause) {
        Subscribe::Unchanged => {}
        Subscribe::Conflict => {
            let message = "Automatic subscription obsoleted by an unsubscription request.";
            return Err(ApiError::new(ErrorCode::ConflictingUnsubscription, message));
        }
        Subscribe::Change => {
            let (user_id, room_id) = (&thread.read.caller.user_id, &thread.read.room_id);
            let write = storage::subscribe(user_id, room_id, &thread.root, cause.is_some());
            thread.write(write).await?;
        }
    }
    answer(&json!({}))
}

/// `DELETE .../rooms/{roomId}/thread/{threadRoot}/subscription`
async fn delete_subscription(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let thread = Thread::find(access, &incoming, None).await?;
    if let Some(Subscription::Subscribed { .. }) = thread.subscription {
        let (user_id, room_id) = (&thread.read.caller.user_id, &thread.read.room_id);
        thread.write(storage::unsubscribe(user_id, room_id, &thread.root)).await?;
    }
    answer(&json!({}))
}

#[derive(Serialize)]
struct List {
    #[serde(flatten)]
    changes: SubscriptionChanges,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
}

/// `GET /_matrix/client/unstable/io.element.msc4308/thread_subscriptions`
async fn list_subscriptions(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let token = access.token()?.to_owned();
    match incoming.query("dir").as_deref() {
        Some("b") => {}
        Some(_) => return Err(ApiError::invalid_param("dir must be b")),
        None => return Err(ApiError::missing_param("Missing dir")),
    }
    let limit = match incoming.query("limit").map(|text| text.parse::<u32>()) {
        None => LIST_DEFAULT,
        Some(Ok(limit)) if limit > 0 => limit.min(LIST_MAX),
        Some(_) => return Err(ApiError::invalid_param("limit must be greater than 0")),
    };
    let invalid = |name: &str| ApiError::invalid_param(format!("`{name}` is not a valid token"));
    // Going back, `from` is the later of the two.
    let upto = match incoming.query("from") {
        Some(from) => from.parse::<SubscriptionsToken>().map_err(|_| invalid("from"))?.0,
        None => NOW,
    };
    let after = match incoming.query("to") {
        Some(to) => SubscriptionsToken::from_end(&to).map_err(|_| invalid("to"))?.0,
        None => 0,
    };
    let read = storage::updated_since(&token, after, upto.min(NOW), limit);
    let (_, results) = access.authenticate_with(vec![read]).await?;
    let rows: Vec<ChangeRow> = Results::new(results).rows()?;
    let (changes, end) = list_changes(rows.into_iter().map(Into::into).collect(), limit as usize);
    answer(&List { changes, end: end.map(|end| end.to_string()) })
}
