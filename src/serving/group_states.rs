//! What the state groups under a timeline say for one reader: the history visibility, and the
//! reader's own membership.

use std::collections::HashMap;

use myelin_protocol::pdu::Pdu;
use ruma::room_version_rules::RoomVersionRules;
use ruma::{OwnedEventId, OwnedRoomId};

use crate::storage::events::VisibilityRow;

/// State groups, each with what it sets itself and its parent.
#[derive(Debug, Default)]
pub struct GroupStates {
    groups: HashMap<i64, Group>,
}

#[derive(Debug, Default)]
struct Group {
    parent: Option<i64>,
    visibility: Option<Pdu>,
    member: Option<Pdu>,
}

/// The state of a group, as far as it decides what the reader sees.
#[derive(Clone, Copy, Debug, Default)]
pub struct StateForReader<'a> {
    pub history_visibility: Option<&'a Pdu>,
    pub member: Option<&'a Pdu>,
}

impl GroupStates {
    pub fn new(rows: Vec<VisibilityRow>) -> Self {
        // A full snapshot repeats what was said before: each event is parsed once.
        let mut parsed = HashMap::new();
        let groups = rows.into_iter().map(|row| {
            let mut parse =
                |event_id, json| parse(&mut parsed, row.room_id.as_ref()?, event_id?, json?);
            let visibility = parse(row.visibility_id, row.visibility_json);
            let member = parse(row.member_id, row.member_json);
            (row.state_group, Group { parent: row.prev_state_group, visibility, member })
        });
        Self { groups: groups.collect() }
    }

    /// The state of a group: on the way to the root the nearest group that sets an entry counts.
    pub fn of(&self, state_group: i64) -> StateForReader<'_> {
        let mut state = StateForReader::default();
        let mut next = Some(state_group);
        // A chain is never longer than the groups that were read.
        for _ in 0..self.groups.len() {
            let Some(group) = next.and_then(|id| self.groups.get(&id)) else { break };
            state.history_visibility = state.history_visibility.or(group.visibility.as_ref());
            state.member = state.member.or(group.member.as_ref());
            if state.history_visibility.is_some() && state.member.is_some() {
                break;
            }
            next = group.parent;
        }
        state
    }
}

/// The rules of the version tell only where a redaction has its target: any will do here.
fn parse(
    parsed: &mut HashMap<OwnedEventId, Option<Pdu>>,
    room_id: &OwnedRoomId,
    event_id: OwnedEventId,
    json: String,
) -> Option<Pdu> {
    let read = |event_id: &OwnedEventId| {
        let (event_id, rules) = (event_id.clone(), RoomVersionRules::V1);
        Pdu::from_json(event_id, room_id.clone(), json, &rules, false).ok()
    };
    let pdu = parsed.entry(event_id).or_insert_with_key(read);
    pdu.clone()
}
