//! An event as it came from the log, parsed: redacted if it has been, with what it replaced.

use myelin_protocol::pdu::{Pdu, PduError};
use myelin_protocol::redaction::{RedactError, redact};
use myelin_protocol::room_state::membership;
use myelin_protocol::room_version::rules_of;
use myelin_protocol::sync::Member;
use myelin_protocol::sync_token::RoomStreamToken;
use ruma::events::TimelineEventType;
use ruma::room_version_rules::RoomVersionRules;
use ruma::{OwnedDeviceId, OwnedEventId, OwnedUserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::aggregations::Aggregations;
use crate::storage::events::EventRow;

/// Why a row cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StoredEventError {
    #[error("{0} is of an unknown room version")]
    RoomVersion(OwnedEventId),
    #[error("{0}")]
    Pdu(#[from] PduError),
    #[error("{0}")]
    Redact(#[from] RedactError),
}

/// What the writer noted about an event: Synapse's `internal_metadata`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct InternalMetadata {
    #[serde(default)]
    pub txn_id: Option<String>,
    #[serde(default)]
    pub delay_id: Option<String>,
    #[serde(default)]
    pub device_id: Option<OwnedDeviceId>,
    #[serde(default)]
    pub soft_failed: bool,
}

/// The state event that another one replaced.
#[derive(Clone, Debug)]
pub struct Replaced {
    pub event_id: OwnedEventId,
    pub sender: OwnedUserId,
    pub content: Box<RawValue>,
}

#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Pruned if the event has been redacted.
    pub pdu: Pdu,
    pub rules: RoomVersionRules,
    pub stream_ordering: i64,
    pub topological_ordering: i64,
    pub metadata: InternalMetadata,
    pub outlier: bool,
    pub state_group: Option<i64>,
    pub sender_erased: bool,
    pub redaction: Option<Pdu>,
    pub replaced: Option<Replaced>,
    /// What relates to it, if that has been asked for and there is anything.
    pub aggregations: Option<Box<Aggregations>>,
}

impl StoredEvent {
    /// # Errors
    /// If the row holds no event of a room version that we know.
    pub fn read(row: EventRow) -> Result<Self, StoredEventError> {
        let version = row.room_version.as_deref().unwrap_or("1");
        let rules =
            rules_of(version).ok_or_else(|| StoredEventError::RoomVersion(row.event_id.clone()))?;
        let parse = |event_id: OwnedEventId, json: String| {
            Pdu::from_json(event_id, row.room_id.clone(), json, &rules, false)
        };
        let mut pdu = parse(row.event_id, row.json)?;
        let redaction = match (row.redaction_id, row.redaction_json) {
            (Some(event_id), Some(json)) => Some(parse(event_id, json)?),
            _ => None,
        };
        if redaction.is_some() {
            pdu = redact(&pdu, &rules)?;
        }
        let replaced = match (row.replaced_id, row.replaced_json) {
            (Some(event_id), Some(json)) => {
                let replaced = parse(event_id, json)?;
                Some(if row.replaced_redacted { redact(&replaced, &rules)? } else { replaced })
            }
            _ => None,
        };
        Ok(Self {
            pdu,
            stream_ordering: row.stream_ordering,
            topological_ordering: row.topological_ordering,
            metadata: serde_json::from_str(&row.internal_metadata).unwrap_or_default(),
            outlier: row.outlier,
            state_group: row.state_group,
            sender_erased: row.sender_erased,
            redaction,
            replaced: replaced.map(|pdu| Replaced {
                event_id: pdu.event_id.clone(),
                sender: pdu.sender.clone(),
                content: pdu.content.clone(),
            }),
            aggregations: None,
            rules,
        })
    }

    /// The place right after the event.
    pub fn token_after(&self) -> RoomStreamToken {
        RoomStreamToken::historic(self.topological_ordering, self.stream_ordering)
    }

    /// The place right before the event: a `prev_batch` of a timeline that begins with it.
    pub fn token_before(&self) -> RoomStreamToken {
        RoomStreamToken::historic(self.topological_ordering, self.stream_ordering - 1)
    }

    /// A membership event, as far as it decides what a sync tells.
    pub fn member(&self) -> Option<Member> {
        Some(Member {
            user_id: self.pdu.state_key.as_deref()?.try_into().ok()?,
            event_id: self.pdu.event_id.clone(),
            stream_ordering: self.stream_ordering,
            membership: membership(Some(&self.pdu)),
            replaces: self.replaced.as_ref().map(|replaced| replaced.event_id.clone()),
        })
    }

    /// Whether this sets the state of that type and state key.
    pub fn is_state_of(&self, event_type: &TimelineEventType, state_key: &str) -> bool {
        self.pdu.event_type == *event_type && self.pdu.state_key.as_deref() == Some(state_key)
    }

    pub fn is_state(&self) -> bool {
        self.pdu.state_key.is_some()
    }
}
