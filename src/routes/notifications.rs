//! What somebody was notified about. Client-Server API, "Push Notifications".

use std::collections::HashMap;

use http::Method;
use myelin_protocol::client_event::EventFormat;
use ruma::events::TimelineEventType;
use ruma::{OwnedEventId, OwnedRoomId};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::access::{Access, Caller};
use super::endpoint::{Answer, Incoming, Route, json as answer, raw};
use crate::error::ApiError;
use crate::serving::{self, Reader, StoredEvent, Timeline, aggregations};
use crate::storage::database::Results;
use crate::storage::event_pages;
use crate::storage::event_push_actions::{self, NotificationRow};
use crate::storage::events::{self, IgnoredRow, ReaderRow};
use crate::storage::stream_positions::NOW;

const LIMIT_DEFAULT: u64 = 50;
const LIMIT_MAX: u64 = 500;

pub fn routes() -> Vec<Route> {
    let notifications = &["/_matrix/client/v3/notifications", "/_matrix/client/r0/notifications"];
    vec![raw(Method::GET, notifications, list_notifications)]
}

/// `GET /_matrix/client/v3/notifications`
async fn list_notifications(access: Access, incoming: Incoming) -> Result<Answer, ApiError> {
    let from = number(&incoming, "from")?;
    let limit = number(&incoming, "limit")?.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let only_highlights = incoming.query("only").as_deref() == Some("highlight");
    let before = from.map(|from| i64::try_from(from).map_or(NOW, |from| from.min(NOW)));
    let token = access.token()?;
    let reads = vec![
        event_push_actions::select_notifications(token, before, only_highlights, limit),
        events::ignored_users(token),
    ];
    let (caller, results) = access.authenticate_with(reads).await?;
    caller.must_not_be_guest()?;
    let mut results = Results::new(results);
    let rows: Vec<NotificationRow> = results.rows()?;
    let ignored: Vec<IgnoredRow> = results.rows()?;
    // As in Synapse, the token is there as long as there is something: an empty page ends it.
    let next_token = rows.last().map(|row| row.stream_ordering.to_string());
    let reader = Reader {
        user_id: caller.user_id.clone(),
        device_id: caller.device_id.clone(),
        ignored: ignored.into_iter().map(|row| row.ignored_user_id).collect(),
    };
    let events = if rows.is_empty() {
        HashMap::new()
    } else {
        visible_events(&caller, &reader, &rows).await?
    };
    let notifications = rows.iter().filter_map(|row| Some((row, events.get(&row.event_id)?)));
    let notifications: Result<Vec<Value>, ApiError> =
        notifications.map(|(row, event)| notification(row, event)).collect();
    let mut body = json!({ "notifications": notifications? });
    if let Some(next_token) = next_token {
        body["next_token"] = json!(next_token);
    }
    answer(&body)
}

fn number(incoming: &Incoming, name: &str) -> Result<Option<u64>, ApiError> {
    let parse = |text: String| {
        text.parse().map_err(|_| ApiError::invalid_param(format!("{name} is not a number")))
    };
    incoming.query(name).map(parse).transpose()
}

/// The events as the reader sees them; those that the reader may not see are left out.
async fn visible_events(
    caller: &Caller,
    reader: &Reader,
    rows: &[NotificationRow],
) -> Result<HashMap<OwnedEventId, Box<RawValue>>, ApiError> {
    let event_ids: Vec<OwnedEventId> = rows.iter().map(|row| row.event_id.clone()).collect();
    let mut rooms: Vec<OwnedRoomId> = rows.iter().map(|row| row.room_id.clone()).collect();
    rooms.sort();
    rooms.dedup();
    let user_id = reader.user_id.as_str();
    let mut batch = serving::timeline(event_pages::by_id(&event_ids), user_id).to_vec();
    batch.push(events::readers(&rooms, user_id));
    let mut results = Results::new(caller.context.batch(batch).await?);
    let timeline = Timeline::read(&mut results)?;
    // Of a room that somebody is only invited to, the invitation is theirs to see.
    let is_own = |event: &&StoredEvent| {
        event.is_state_of(&TimelineEventType::RoomMember, reader.user_id.as_str())
    };
    let own = timeline.events.iter().filter(is_own);
    let own = own.map(|event| event.pdu.event_id.clone()).collect();
    let rooms = results.rows::<ReaderRow>()?.into_iter();
    let rooms = rooms.map(|row| (row.room_id.clone(), row)).collect();
    let now_ms = caller.context.now_ms();
    let mut visible = timeline.visible_or_known(reader, &rooms, &own);
    aggregations::add(&caller.context, reader, &rooms, &mut visible).await?;
    Ok(visible
        .into_iter()
        .map(|seen| {
            let (event, membership) = (&seen.event, Some(seen.membership.as_str()));
            let json = reader.format(event, membership, EventFormat::ClientWithoutRoomId, now_ms);
            (event.pdu.event_id.clone(), json)
        })
        .collect())
}

fn notification(row: &NotificationRow, event: &RawValue) -> Result<Value, ApiError> {
    Ok(json!({
        "room_id": row.room_id,
        "profile_tag": row.profile_tag,
        "actions": row.actions().map_err(ApiError::internal)?,
        "ts": row.received_ts.unwrap_or_default(),
        "read": row.is_read,
        "event": event,
    }))
}
