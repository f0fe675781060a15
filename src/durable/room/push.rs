//! Push rules in the writer: whose have to be read before commands can be decided, and what a
//! commit writes for those who are notified.
//!
//! Invariant: the rules of every joined local member are in memory, as they were at the position
//! that goes with them, or later.

use std::collections::HashMap;

use myelin_protocol::pdu::Pdu;
use myelin_protocol::push_audience::Notice;
use myelin_protocol::push_rules::UserSettings;
use myelin_protocol::room_state::membership;
use ruma::events::TimelineEventType;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedUserId, RoomId, ServerName, UserId};
use serde_json::{Map, Value};

use super::decide::{Decided, Written};
use super::load::Loaded;
use crate::context::Context;
use crate::durable::{MembershipAction, PushCommand, RoomCommand};
use crate::storage::database::{DatabaseError, Results, Statement};
use crate::storage::event_push_actions::{self, NoticeRow};
use crate::storage::push_queue::{self, UserRow};
use crate::storage::push_rules;
use crate::storage::stream_positions::{self, StreamName};

/// Users in one bound value: with 255 bytes each it stays below the platform's 2 MB.
const USERS_MAX: usize = 3_000;

/// Bytes of the actions in one bound value; quoting them as JSON once more at most doubles them.
const ACTIONS_BYTES_MAX: usize = 300_000;

/// Rules that commands need, and that are not known well enough.
#[derive(Default)]
pub struct WantedRules {
    /// Members may have changed theirs after this position.
    changed_after: Option<i64>,
    /// Those who are invited, or join in the same commit as others write.
    users: Vec<OwnedUserId>,
}

/// What has been read for [`WantedRules`].
#[derive(Default)]
pub struct Rules {
    settings: HashMap<OwnedUserId, UserSettings>,
    position: Option<i64>,
}

impl WantedRules {
    pub fn new(
        loaded: Option<&Loaded>,
        commands: &[&RoomCommand],
        server_name: &ServerName,
    ) -> Self {
        let mut wanted = Self::default();
        let is_local = |user: &OwnedUserId| user.server_name() == server_name;
        for command in commands {
            match command {
                RoomCommand::Send(send) => {
                    let known = loaded.map(|loaded| loaded.push_rules_position);
                    let old = known.filter(|known| *known < send.push_rules_position);
                    wanted.changed_after = wanted.changed_after.or(old);
                }
                RoomCommand::ChangeMembership(change) => {
                    let is_wanted = match change.action {
                        MembershipAction::Invite => true,
                        MembershipAction::Join => commands.len() > 1,
                        _ => false,
                    };
                    wanted.users.extend(is_wanted.then(|| change.target.clone()));
                }
                RoomCommand::Create(create) => {
                    let invited = create.events.iter().filter_map(|event| {
                        let user_id = UserId::parse(event.state_key.as_deref()?).ok()?;
                        let is_other = user_id != event.sender;
                        (event.event_type == "m.room.member" && is_other).then_some(user_id)
                    });
                    wanted.users.extend(invited);
                }
                _ => {}
            }
        }
        wanted.users.retain(is_local);
        wanted
    }

    pub fn is_empty(&self) -> bool {
        self.changed_after.is_none() && self.users.is_empty()
    }

    pub fn statements(&self, room_id: &RoomId) -> Vec<Statement> {
        let mut batch = Vec::new();
        if let Some(after) = self.changed_after {
            batch.extend(push_rules::select_of_changed_members(room_id, after));
            batch.push(position());
        }
        if !self.users.is_empty() {
            let users: Vec<&UserId> = self.users.iter().map(|user| &**user).collect();
            batch.extend(push_rules::select_of_users(&users));
        }
        batch
    }

    /// Takes the results of [`WantedRules::statements`].
    pub fn read(&self, results: &mut Results) -> Result<Rules, DatabaseError> {
        let mut rules = Rules::default();
        if self.changed_after.is_some() {
            rules.settings = push_rules::read_settings(results)?;
            rules.position = Some(read_position(results)?);
        }
        if !self.users.is_empty() {
            rules.settings.extend(push_rules::read_settings(results)?);
        }
        Ok(rules)
    }
}

impl Rules {
    pub fn apply(&self, loaded: &mut Loaded) {
        for (user_id, settings) in &self.settings {
            loaded.audience.set_settings(user_id, settings.clone());
        }
        if let Some(position) = self.position {
            loaded.push_rules_position = position;
        }
    }
}

/// Nobody reads what users of application services are notified of.
pub fn leave_out_services(context: &Context, notices: &mut Vec<Notice>) {
    if context.config.application_services.is_empty() {
        return;
    }
    for notice in &mut *notices {
        notice.user_ids.retain(|user_id| !context.is_of_service(user_id));
    }
    notices.retain(|notice| !notice.user_ids.is_empty());
}

/// Statements that bring the rules of all members, with their position; for [`read_rules`].
pub fn select_rules(room_id: &RoomId) -> Vec<Statement> {
    let mut batch = push_rules::select_of_members(room_id).to_vec();
    batch.push(position());
    batch
}

pub fn read_rules(results: &mut Results) -> Result<Rules, DatabaseError> {
    let settings = push_rules::read_settings(results)?;
    Ok(Rules { settings, position: Some(read_position(results)?) })
}

pub fn position() -> Statement {
    stream_positions::select_some(&[StreamName::PushRules])
}

pub fn read_position(results: &mut Results) -> Result<i64, DatabaseError> {
    let positions: Option<HashMap<String, i64>> = results.first()?;
    let position = positions.and_then(|row| row.get(StreamName::PushRules.as_str()).copied());
    Ok(position.unwrap_or(0))
}

/// The local users whom a commit lets in. Their rules come with the commit, at its end.
pub fn newcomers<'a>(decided: &'a Decided, server_name: &ServerName) -> Vec<&'a UserId> {
    let newcomer = |written: &'a Written| {
        let event = &written.event;
        let is_join = |event| membership(event) == MembershipState::Join;
        let is_new = event.event_type == TimelineEventType::RoomMember
            && is_join(Some(event))
            && !is_join(written.replaced.as_ref());
        let user_id = event.state_key.as_deref().filter(|_| is_new)?;
        let user_id = <&UserId>::try_from(user_id).ok()?;
        (user_id.server_name() == server_name).then_some(user_id)
    };
    decided.events.iter().filter_map(newcomer).collect()
}

/// What brings the rules of newcomers; for [`read_rules`].
pub fn select_rules_of(newcomers: &[&UserId]) -> Vec<Statement> {
    if newcomers.is_empty() {
        return Vec::new();
    }
    let mut batch = push_rules::select_of_users(newcomers).to_vec();
    batch.push(position());
    batch
}

/// Remembers the rules of newcomers. Only in a new room do they stand for all members' rules.
pub fn learn_newcomers(
    loaded: &mut Loaded,
    is_new_room: bool,
    results: &mut Results,
) -> Result<(), DatabaseError> {
    let mut rules = read_rules(results)?;
    rules.position = rules.position.filter(|_| is_new_room);
    rules.apply(loaded);
    Ok(())
}

/// What brings those who are notified and have a pusher; for [`send`]. `None` if nobody is.
pub fn select_pushed(decided: &Decided) -> Option<Statement> {
    let notify = decided.events.iter().filter(|written| !written.notices.is_empty());
    let event_ids: Vec<&str> = notify.map(|written| written.event.event_id.as_str()).collect();
    let select = || push_queue::select_pushed(decided.room_id.as_str(), &event_ids);
    (!event_ids.is_empty()).then(select)
}

/// Tells the senders of those who have been found. Whoever is not told is found by the sweep.
pub fn send(context: &Context, results: &mut Results) {
    let users = results.rows::<UserRow>().unwrap_or_default();
    context.push(users.into_iter().map(|row| row.user_id).collect(), PushCommand::Notify);
}

/// What a commit writes for those who are notified, and takes back of what is redacted.
pub fn statements(decided: &Decided) -> Vec<Statement> {
    let room_id = decided.room_id.as_str();
    let count = decided.events.len();
    let mut batch = Vec::new();
    let (mut rows, mut users, mut bytes) = (Vec::new(), 0, 0);
    for (index, written) in decided.events.iter().enumerate() {
        for notice in &written.notices {
            for part in notice.user_ids.chunks(USERS_MAX) {
                let actions = notice.outcome.actions.len();
                if users + part.len() > USERS_MAX || bytes + actions > ACTIONS_BYTES_MAX {
                    batch.push(event_push_actions::insert(room_id, &rows));
                    (rows, users, bytes) = (Vec::new(), 0, 0);
                }
                let from_newest = count - 1 - index;
                rows.push(row(&written.event, from_newest, notice, part));
                users += part.len();
                bytes += actions;
            }
        }
    }
    if !rows.is_empty() {
        batch.push(event_push_actions::insert(room_id, &rows));
    }
    let redacted = decided.events.iter().filter_map(|written| written.event.redacts.as_ref());
    let redacted: Vec<&str> = redacted.map(|id| id.as_str()).collect();
    if !redacted.is_empty() {
        batch.push(event_push_actions::delete_of_events(room_id, &redacted));
    }
    batch
}

fn row<'a>(
    event: &'a Pdu,
    from_newest: usize,
    notice: &'a Notice,
    users: &'a [OwnedUserId],
) -> NoticeRow<'a> {
    let (relates_to, relation_type) = relation(event).unzip();
    NoticeRow {
        event_id: event.event_id.as_str(),
        sender: event.sender.as_str(),
        depth: event.depth,
        from_newest,
        actions: &notice.outcome.actions,
        highlight: notice.outcome.is_highlight,
        relates_to,
        is_threaded: relation_type.as_deref() == Some("m.thread"),
        // State is everybody's; an invitation is not shown to those who ignore who sent it.
        can_be_ignored: event.state_key.is_none()
            || membership(Some(event)) == MembershipState::Invite,
        users,
    }
}

/// The event that an event relates to, and how.
fn relation(event: &Pdu) -> Option<(String, String)> {
    let content: Map<String, Value> = event.content_as()?;
    let relation = content.get("m.relates_to")?;
    let text = |name: &str| relation.get(name)?.as_str().map(str::to_owned);
    Some((text("event_id")?, text("rel_type")?))
}
