//! ONE batch for all events of a group: the log, the state, and what is derived from it.

use std::collections::HashMap;

use myelin_protocol::pdu::Pdu;
use myelin_protocol::relations::{self, Relation};
use myelin_protocol::room_snapshot::RoomSnapshot;
use myelin_protocol::room_state::{Member, membership};
use myelin_protocol::self_destruction::self_destructs_ms;
use ruma::events::TimelineEventType;
use ruma::events::room::member::MembershipState;
use ruma::room_version_rules::{EventIdFormatVersion, RoomVersionRules};
use ruma::{ServerName, UserId};
use serde_json::{Map, Value, json};

use super::decide::{Decided, Written};
use super::load::Loaded;
use super::{Room, delayed, facts, push, related};
use crate::context::Context;
use crate::durable::PresumedToken;
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::event_expiry::{self, ExpiryRow};
use crate::storage::room_log::{
    self, BodyRow, EdgeRow, EventRow, Presumed, RedactionRow, RelationRow,
};
use crate::storage::room_log::{PositionRow, ThreadRow, TransactionRow};
use crate::storage::room_state_log::{self, EventGroupRow, GroupIdRow, GroupStateRow};
use crate::storage::room_state_log::{MembershipRow, NewGroupRow, StateRow};
use crate::storage::{rooms, typing};

/// State groups between two full ones, at least; a large room has as many as it has state, so
/// that full groups cost one row a change and reading a chain at most doubles a read.
const HOPS_MAX: usize = 100;

/// JSON of events in one bound value: quoting it as JSON once more at most doubles it, and the
/// platform's limit is 2 MB.
const BODIES_BYTES_MAX: usize = 900_000;

/// Events that count as activity: Synapse's list for `bump_stamp`.
const BUMP_TYPES: [&str; 7] = [
    "m.room.create",
    "m.room.message",
    "m.room.encrypted",
    "m.sticker",
    "m.call.invite",
    "m.poll.start",
    "m.beacon_info",
];

/// A state group: of an older commit, or of this one.
#[derive(Clone, Copy)]
enum GroupRef {
    None,
    Id(i64),
    Index(usize),
}

impl GroupRef {
    fn id(self) -> Option<i64> {
        if let Self::Id(id) = self { Some(id) } else { None }
    }

    fn index(self) -> Option<usize> {
        if let Self::Index(index) = self { Some(index) } else { None }
    }
}

/// The state groups of a commit, gathered event by event.
pub struct Groups {
    current: GroupRef,
    hops: usize,
    new: Vec<NewGroupRow>,
    entries: Vec<GroupStateRow>,
    of_events: Vec<EventGroupRow>,
}

impl Groups {
    /// Goes on from the room's newest state group.
    pub fn after(loaded: Option<&Loaded>) -> Self {
        let id = loaded.and_then(|loaded| loaded.state_group);
        Self {
            current: id.map_or(GroupRef::None, GroupRef::Id),
            hops: loaded.map_or(0, |loaded| loaded.hops),
            new: Vec::new(),
            entries: Vec::new(),
            of_events: Vec::new(),
        }
    }

    /// Gives an event its group: the state after it, as `room` has it now.
    pub fn add(&mut self, event: &Pdu, room: &RoomSnapshot) {
        let without = matches!(self.current, GroupRef::None);
        if event.state_key.is_some() || without {
            self.begin(event, room);
        }
        self.of_events.push(EventGroupRow {
            event_id: event.event_id.to_string(),
            group_id: self.current.id(),
            group_index: self.current.index(),
        });
    }

    fn begin(&mut self, event: &Pdu, room: &RoomSnapshot) {
        let index = self.new.len();
        let is_full =
            matches!(self.current, GroupRef::None) || self.hops >= HOPS_MAX.max(room.state_len());
        let parent = if is_full { GroupRef::None } else { self.current };
        let entry = |event: &Pdu| GroupStateRow {
            index,
            event_type: event.event_type.to_string(),
            state_key: event.state_key.clone().unwrap_or_default(),
            event_id: event.event_id.to_string(),
        };
        if is_full {
            self.entries.extend(room.state().map(entry));
        } else {
            self.entries.push(entry(event));
        }
        self.new.push(NewGroupRow {
            index,
            event_id: event.event_id.to_string(),
            parent_id: parent.id(),
            parent_index: parent.index(),
        });
        self.hops = if is_full { 0 } else { self.hops + 1 };
        self.current = GroupRef::Index(index);
    }

    /// The id of the newest group, once `newest` is known to be the last one allocated.
    fn newest_id(&self, newest: Option<i64>) -> Option<i64> {
        match self.current {
            GroupRef::None => None,
            GroupRef::Id(id) => Some(id),
            GroupRef::Index(index) => Some(newest? - (self.new.len() - 1 - index) as i64),
        }
    }
}

impl Room {
    /// Commits what has been decided; returns the position of its last event.
    pub(super) async fn commit(
        &self,
        context: &Context,
        decided: &Decided,
    ) -> Result<i64, DatabaseError> {
        let newcomers = push::newcomers(decided, context.server_name());
        let (mut statements, changes_members) = {
            let loaded = self.loaded.borrow();
            let loaded = loaded
                .as_ref()
                .ok_or_else(|| DatabaseError::Refused("a commit without a room".to_owned()))?;
            statements(context, loaded, decided)
        };
        let written = statements.len();
        let select_pushed = push::select_pushed(decided);
        let may_push = select_pushed.is_some();
        statements.extend(select_pushed);
        statements.extend(push::select_rules_of(&newcomers));
        let mut results = context.batch(statements).await?;
        let mut rules = Results::new(results.split_off(written));
        if may_push {
            push::send(context, &mut rules);
        }
        // The fence comes first, then the allocations.
        let mut results = Results::new(results);
        results.skip(1);
        let position: Option<PositionRow> = results.first()?;
        let newest = position.as_ref().map_or(0, |row| row.stream_id);
        let new_groups = !decided.groups.new.is_empty();
        let group: Option<GroupIdRow> = if new_groups { results.first()? } else { None };
        if let Some(loaded) = self.loaded.borrow_mut().as_mut() {
            loaded.epoch += 1;
            if let Some(row) = position.filter(|_| !decided.presumed.is_empty()) {
                // The fence has found that nothing of the members is new up to here.
                loaded.push_rules_position = row.push_rules_position;
            }
            loaded.state_group = decided.groups.newest_id(group.map(|row| row.value));
            loaded.hops = decided.groups.hops;
            if changes_members {
                loaded.members_version = loaded.epoch;
            }
            if loaded.relations_position.is_none() || related::changes(decided) {
                loaded.relations_position = Some(newest);
            }
            if !newcomers.is_empty() {
                push::learn_newcomers(loaded, decided.create.is_some(), &mut rules)?;
            }
        }
        self.remember_transactions(decided, newest);
        Ok(newest)
    }
}

/// The whole batch, and whether it changes who is joined.
fn statements(context: &Context, loaded: &Loaded, decided: &Decided) -> (Vec<Statement>, bool) {
    let room = &loaded.snapshot;
    let room_id = decided.room_id.as_str();
    let now_ms = context.now_ms();
    let events: Vec<&Pdu> = decided.events.iter().map(|written| &written.event).collect();
    let groups = &decided.groups;
    let mut batch =
        vec![room_log::fence(room_id, loaded.epoch, &presumed(loaded, decided), now_ms)];
    batch.push(room_log::advance(events.len()));
    if !groups.new.is_empty() {
        batch.push(room_state_log::advance_groups(groups.new.len()));
    }
    batch.extend(delayed::statements(context.server_name(), decided));
    if let Some(create) = &decided.create {
        let creator = events[0].sender.as_str();
        batch.push(rooms::insert(room_id, room.version.as_str(), creator, create.is_public));
        if let Some(alias) = &create.alias {
            let server = alias.server_name().as_str();
            batch.extend(rooms::insert_alias(room_id, alias.as_str(), server, creator));
        }
    }
    let rows: Vec<EventRow> = events.iter().map(|event| event_row(event)).collect();
    batch.push(room_log::insert_events(room_id, &rows, now_ms));
    let bodies: Vec<BodyRow> = decided.events.iter().map(body_row).collect();
    batch.extend(insert_bodies(room_id, &bodies, format_version(&room.rules)));
    batch.push(room_log::insert_edges(&edges(&events)));
    batch.extend(extremities(room_id, &events));
    if !groups.new.is_empty() {
        batch.extend(room_state_log::insert_groups(room_id, &groups.new, &groups.entries));
    }
    batch.push(room_state_log::insert_event_groups(&groups.of_events, groups.new.len()));
    batch.extend(transactions(room_id, &decided.events, now_ms));
    batch.extend(relations(room_id, &events));
    batch.extend(redactions(room_id, &events, now_ms));
    batch.extend(expiries(&events));
    batch.extend(push::statements(decided));
    let (state, changes_members) = state(context.server_name(), room, decided, now_ms);
    batch.extend(state);
    (batch, changes_members)
}

fn presumed<'a>(loaded: &Loaded, decided: &'a Decided) -> Presumed<'a> {
    let tokens: Vec<&PresumedToken> = decided.presumed.iter().map(|(_, token)| token).collect();
    let known = Some(loaded.push_rules_position).filter(|_| !tokens.is_empty());
    Presumed { push_rules_position: known, tokens }
}

fn event_row(event: &Pdu) -> EventRow {
    EventRow {
        event_id: event.event_id.to_string(),
        depth: event.depth,
        event_type: event.event_type.to_string(),
        state_key: event.state_key.clone(),
        sender: event.sender.to_string(),
        origin_server_ts: event.origin_server_ts.0.into(),
        contains_url: content(event).get("url").is_some_and(Value::is_string),
    }
}

fn content(event: &Pdu) -> Map<String, Value> {
    event.content_as().unwrap_or_default()
}

fn body_row(written: &Written) -> BodyRow {
    let metadata = match (written.transaction_of_device(), &written.delayed) {
        (Some(key), _) => json!({"device_id": key.device_id, "txn_id": key.txn_id}),
        (None, Some(delayed)) => json!({"delay_id": delayed.delay_id}),
        (None, None) => json!({}),
    };
    BodyRow {
        event_id: written.event.event_id.to_string(),
        json: written.event.json.get().to_owned(),
        metadata: metadata.to_string(),
    }
}

/// As many statements as the size of a bound value asks for.
fn insert_bodies(room_id: &str, bodies: &[BodyRow], format_version: u32) -> Vec<Statement> {
    let mut statements = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, body) in bodies.iter().enumerate() {
        if bytes + body.json.len() > BODIES_BYTES_MAX && index > start {
            let rows = &bodies[start..index];
            statements.push(room_log::insert_bodies(room_id, rows, format_version));
            (start, bytes) = (index, 0);
        }
        bytes += body.json.len();
    }
    statements.push(room_log::insert_bodies(room_id, &bodies[start..], format_version));
    statements
}

/// Synapse's `EventFormatVersions`.
fn format_version(rules: &RoomVersionRules) -> u32 {
    match rules.event_id_format {
        EventIdFormatVersion::V1 => 1,
        EventIdFormatVersion::V2 => 2,
        _ if rules.event_format.require_room_create_room_id => 3,
        _ => 4,
    }
}

fn edges(events: &[&Pdu]) -> Vec<EdgeRow> {
    let edge = |event: &Pdu| {
        let event_id = event.event_id.to_string();
        let prev_events = event.prev_events.clone();
        prev_events.into_iter().map(move |prev| EdgeRow {
            event_id: event_id.clone(),
            prev_event_id: prev.to_string(),
        })
    };
    events.iter().flat_map(|event| edge(event)).collect()
}

fn extremities(room_id: &str, events: &[&Pdu]) -> Vec<Statement> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return Vec::new();
    };
    let old: Vec<String> = first.prev_events.iter().map(ToString::to_string).collect();
    room_log::replace_extremities(room_id, &old, last.event_id.as_str())
}

fn transactions(room_id: &str, events: &[Written], now_ms: u64) -> Option<Statement> {
    let row = |written: &Written| {
        let key = written.transaction_of_device()?;
        Some(TransactionRow {
            event_id: written.event.event_id.to_string(),
            user_id: key.user_id.to_string(),
            device_id: key.device_id.to_string(),
            txn_id: key.txn_id.clone(),
        })
    };
    let rows: Vec<TransactionRow> = events.iter().filter_map(row).collect();
    (!rows.is_empty()).then(|| room_log::insert_transactions(room_id, &rows, now_ms))
}

fn redactions(room_id: &str, events: &[&Pdu], now_ms: u64) -> Vec<Statement> {
    let row = |event: &&Pdu| {
        let redacts = event.redacts.as_ref()?.to_string();
        Some(RedactionRow { event_id: event.event_id.to_string(), redacts })
    };
    let rows: Vec<RedactionRow> = events.iter().filter_map(row).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let mut statements = vec![room_log::insert_redactions(&rows, now_ms)];
    statements.extend(room_log::delete_relations(room_id, &rows));
    statements
}

fn expiries(events: &[&Pdu]) -> Option<Statement> {
    let row = |event: &&Pdu| {
        let expiry_ts = self_destructs_ms(event)?;
        Some(ExpiryRow { event_id: event.event_id.to_string(), expiry_ts })
    };
    let rows: Vec<ExpiryRow> = events.iter().filter_map(row).collect();
    (!rows.is_empty()).then(|| event_expiry::insert(&rows))
}

fn relations(room_id: &str, events: &[&Pdu]) -> Vec<Statement> {
    let mut rows = Vec::new();
    let mut threads: HashMap<String, ThreadRow> = HashMap::new();
    for (from_newest, event) in events.iter().rev().enumerate() {
        let Some(relation) = Relation::of_pdu(event) else { continue };
        let event_id = event.event_id.to_string();
        if relation.rel_type == relations::THREAD {
            let (thread_id, event_id) = (relation.event_id.clone(), event_id.clone());
            let row = ThreadRow { thread_id, event_id, depth: event.depth, from_newest };
            threads.entry(relation.event_id.clone()).or_insert(row);
        }
        rows.push(RelationRow {
            event_id,
            relates_to_id: relation.event_id,
            relation_type: relation.rel_type,
            aggregation_key: relation.key,
        });
    }
    if rows.is_empty() {
        return Vec::new();
    }
    let mut statements = vec![room_log::insert_relations(&rows)];
    if !threads.is_empty() {
        let threads: Vec<ThreadRow> = threads.into_values().collect();
        statements.push(room_log::upsert_threads(room_id, &threads));
    }
    statements
}

/// State, memberships, and what lists and directories show; or only the room's recency.
fn state(
    server_name: &ServerName,
    room: &RoomSnapshot,
    decided: &Decided,
    now_ms: u64,
) -> (Vec<Statement>, bool) {
    let room_id = decided.room_id.as_str();
    let count = decided.events.len();
    let is_bump = |w: &Written| BUMP_TYPES.contains(&w.event.event_type.to_string().as_str());
    let bumps = decided.events.iter().rev().position(is_bump);
    let rows = state_rows(decided);
    if rows.is_empty() && decided.redacted.is_empty() {
        return (vec![room_log::update_recency(room_id, bumps)], false);
    }
    let facts = facts::room_facts(room);
    let mut batch = Vec::new();
    if !rows.is_empty() {
        batch.extend(room_state_log::insert_state(room_id, &rows));
    }
    let members = membership_rows(server_name, decided, count);
    if !members.is_empty() {
        batch.extend(room_state_log::insert_memberships(room_id, &members, &facts));
    }
    batch.extend(redacted_profiles(decided));
    batch.push(room_state_log::upsert_joined_room(room_id, &facts, bumps));
    let stats = facts::room_stats(room, server_name);
    batch.extend(room_state_log::upsert_stats(room_id, &stats));
    let moved = decided.events.iter().filter(|written| {
        let is_member = written.event.event_type.to_string() == "m.room.member";
        is_member && is_join(Some(&written.event)) != is_join(written.replaced.as_ref())
    });
    let moved: Vec<&Written> = moved.collect();
    let left = moved.iter().filter(|written| !is_join(Some(&written.event)));
    let left: Vec<&str> = left.filter_map(|written| written.event.state_key.as_deref()).collect();
    if !left.is_empty() {
        batch.extend(typing::leave(room_id, &left, now_ms));
    }
    (batch, !moved.is_empty())
}

/// A redacted membership has no profile in any room version.
fn redacted_profiles(decided: &Decided) -> Option<Statement> {
    let members = decided.redacted.iter().filter(|e| e.event_type == TimelineEventType::RoomMember);
    let event_ids: Vec<&str> = members.map(|event| event.event_id.as_str()).collect();
    (!event_ids.is_empty()).then(|| room_state_log::clear_profiles(&event_ids))
}

fn is_join(event: Option<&Pdu>) -> bool {
    membership(event) == MembershipState::Join
}

fn state_rows(decided: &Decided) -> Vec<StateRow> {
    let count = decided.events.len();
    let mut last_of_key: HashMap<(String, &str), usize> = HashMap::new();
    for (index, written) in decided.events.iter().enumerate() {
        if let Some(key) = &written.event.state_key {
            last_of_key.insert((written.event.event_type.to_string(), key), index);
        }
    }
    let row = |(index, written): (usize, &Written)| {
        let event = &written.event;
        let state_key = event.state_key.clone()?;
        let event_type = event.event_type.to_string();
        let is_current = last_of_key.get(&(event_type.clone(), state_key.as_str())) == Some(&index);
        let is_member = event_type == "m.room.member";
        Some(StateRow {
            event_id: event.event_id.to_string(),
            membership: is_member.then(|| membership(Some(event)).to_string()),
            prev_event_id: written.replaced.as_ref().map(|old| old.event_id.to_string()),
            from_newest: count - 1 - index,
            is_current,
            auth_events: event.auth_events.iter().map(ToString::to_string).collect(),
            event_type,
            state_key,
        })
    };
    decided.events.iter().enumerate().filter_map(row).collect()
}

fn membership_rows(
    server_name: &ServerName,
    decided: &Decided,
    count: usize,
) -> Vec<MembershipRow> {
    let members = decided.events.iter().enumerate().filter_map(|(index, written)| {
        let event = &written.event;
        let is_member = event.event_type.to_string() == "m.room.member";
        is_member.then_some((index, event, event.state_key.as_deref()?))
    });
    let members: Vec<(usize, &Pdu, &str)> = members.collect();
    let row = |(index, event, user_id): &(usize, &Pdu, &str)| {
        let member = Member::of(event)?;
        let is_local = UserId::parse(*user_id).is_ok_and(|u| u.server_name() == server_name);
        let is_last = !members.iter().any(|(i, _, user)| i > index && user == user_id);
        Some(MembershipRow {
            event_id: event.event_id.to_string(),
            user_id: (*user_id).to_owned(),
            sender: event.sender.to_string(),
            membership: member.membership.to_string(),
            display_name: member.displayname,
            avatar_url: member.avatar_url,
            from_newest: count - 1 - index,
            is_local_current: is_local && is_last,
        })
    };
    members.iter().filter_map(row).collect()
}
