//! From commands to events: load what they need, ask `protocol`, collect what is to be written.

use myelin_protocol::auth::check_own_redaction;
use myelin_protocol::membership_change::{self, Change, Decision};
use myelin_protocol::pdu::Pdu;
use myelin_protocol::push_audience::Notice;
use myelin_protocol::room_snapshot::{Author, Draft, RoomEnd, RoomSnapshot};
use ruma::events::{StateEventType, TimelineEventType};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedRoomId, OwnedUserId, UInt, UserId};
use serde_json::{Map, Value};

use super::load::{Loaded, load, rules};
use super::needs::Needs;
use super::{Room, commit::Groups, push, related};
use crate::context::Context;
use crate::durable::{
    ChangeMembership, CreateRoom, Delayed, MembershipAction, NewEvent, PresumedToken, RoomCommand,
    RoomReply, SendEvent, TransactionKey,
};
use crate::error::{ApiError, ErrorCode};
use crate::storage::database::DatabaseError;
use crate::storage::install::ServerKeys;

/// An event that the commit writes.
pub struct Written {
    pub event: Pdu,
    pub transaction: Option<TransactionKey>,
    /// The state event that it replaces.
    pub replaced: Option<Pdu>,
    /// Who is notified of it.
    pub notices: Vec<Notice>,
    pub delayed: Option<Delayed>,
    /// Whether it was counted against its sender's limit.
    pub is_counted: bool,
}

impl Written {
    /// The transaction, if it is one of those that are found again by their device.
    pub fn transaction_of_device(&self) -> Option<&TransactionKey> {
        self.transaction.as_ref().filter(|key| !key.device_id.as_str().is_empty())
    }
}

/// What an event answers.
#[derive(Default)]
struct Cause {
    transaction: Option<TransactionKey>,
    delayed: Option<Delayed>,
    is_counted: bool,
}

/// What one command comes to.
pub enum Outcome {
    Reply(Result<RoomReply, ApiError>),
    /// The event of this index.
    Event(usize),
    /// A new room, whose last event has this index.
    Created(usize),
}

/// What a group of commands comes to.
pub struct Decided {
    pub room_id: OwnedRoomId,
    pub outcomes: Vec<Outcome>,
    pub events: Vec<Written>,
    /// The current state that the events redact, as it is after that.
    pub redacted: Vec<Pdu>,
    pub groups: Groups,
    /// If the group makes the room.
    pub create: Option<CreateRoom>,
    /// Commands whose events are written only if these tokens hold.
    pub presumed: Vec<(usize, PresumedToken)>,
    /// Where the room ended before.
    pub before: Option<RoomEnd>,
    announces: bool,
}

impl Decided {
    pub fn len(&self) -> usize {
        self.outcomes.len()
    }

    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether messages are all that is to be announced.
    pub fn has_only_messages(&self) -> bool {
        !self.announces && self.events.iter().all(|written| written.event.state_key.is_none())
    }

    /// Whether something else than an event is to be announced.
    pub fn announces(&self) -> bool {
        self.announces
    }

    /// The users whose membership the events change.
    pub fn membership_targets(&self) -> Vec<OwnedUserId> {
        let members = self.events.iter().map(|written| &written.event);
        let members = members.filter(|e| e.event_type == TimelineEventType::RoomMember);
        members.filter_map(|event| UserId::parse(event.state_key.as_deref()?).ok()).collect()
    }

    /// The answers after the commit; `newest` is the position of its last event.
    pub fn outcomes(self, newest: i64) -> Vec<Result<RoomReply, ApiError>> {
        let position = |index: usize| newest - (self.events.len() - 1 - index) as i64;
        let answer = |outcome| match outcome {
            Outcome::Reply(reply) => reply,
            Outcome::Event(index) => Ok(RoomReply::Event {
                event_id: self.events[index].event.event_id.clone(),
                stream_ordering: position(index),
            }),
            Outcome::Created(index) => Ok(RoomReply::Created {
                room_id: self.room_id.clone(),
                stream_ordering: position(index),
            }),
        };
        self.outcomes.into_iter().map(answer).collect()
    }

    /// The error of a creation whose alias somebody else has taken meanwhile.
    pub fn taken(&self, error: &DatabaseError) -> Option<ApiError> {
        let DatabaseError::Constraint(message) = error else {
            return None;
        };
        let taken = self.create.is_some() && message.contains("room_alias");
        taken.then(|| ApiError::new(ErrorCode::RoomInUse, "Room alias already taken"))
    }
}

impl Room {
    /// Decides commands in their order. The snapshot in memory runs ahead of the log until the
    /// commit has landed.
    pub(super) async fn decide(
        &self,
        context: &Context,
        commands: &[&RoomCommand],
    ) -> Result<Decided, ApiError> {
        if self.loaded.borrow().is_none() {
            let loaded = load(context, &self.room_id).await?;
            *self.loaded.borrow_mut() = loaded;
        }
        let keys = context.keys().await?;
        let needs = self.load_needs(context, commands).await?;
        if let Some(loaded) = self.loaded.borrow_mut().as_mut() {
            needs.rules.apply(loaded);
        }
        let mut decided = Decided {
            room_id: self.room_id.clone(),
            outcomes: Vec::with_capacity(commands.len()),
            events: Vec::new(),
            redacted: Vec::new(),
            groups: Groups::after(self.loaded.borrow().as_ref()),
            create: None,
            presumed: Vec::new(),
            before: self.loaded.borrow().as_ref().map(|loaded| loaded.snapshot.end()),
            announces: false,
        };
        for command in commands {
            let decider = Decider { room: self, context, keys: &keys, needs: &needs };
            let outcome = decider.decide(&mut decided, command);
            decided.outcomes.push(outcome.unwrap_or_else(|error| Outcome::Reply(Err(error))));
        }
        Ok(decided)
    }
}

struct Decider<'a> {
    room: &'a Room,
    context: &'a Context,
    keys: &'a ServerKeys,
    needs: &'a Needs,
}

impl Decider<'_> {
    fn decide(&self, decided: &mut Decided, command: &RoomCommand) -> Result<Outcome, ApiError> {
        match command {
            RoomCommand::Create(create) => self.create(decided, create),
            RoomCommand::Send(send) => {
                let count = decided.events.len();
                let outcome = self.send(decided, send);
                match &send.presumed {
                    Some(token) => Ok(decided.presume(token, count, outcome)),
                    None => outcome,
                }
            }
            RoomCommand::ChangeMembership(change) => self.change_membership(decided, change),
            RoomCommand::Announce => {
                decided.announces = true;
                Ok(Outcome::Reply(Ok(RoomReply::Done)))
            }
            // They wait for no turn.
            RoomCommand::Delay(_) | RoomCommand::SendDelayed(_) => {
                Ok(Outcome::Reply(Ok(RoomReply::Done)))
            }
        }
    }

    fn create(&self, decided: &mut Decided, create: &CreateRoom) -> Result<Outcome, ApiError> {
        if self.room.loaded.borrow().is_some() {
            return Ok(Outcome::Reply(Ok(RoomReply::Exists)));
        }
        let version = create.room_version.clone();
        let rules = rules(&version)?;
        let snapshot = RoomSnapshot::empty(self.room.room_id.clone(), version, rules);
        let mut loaded = Loaded::empty(snapshot, self.context.server_name());
        self.needs.rules.apply(&mut loaded);
        *self.room.loaded.borrow_mut() = Some(loaded);
        for event in &create.events {
            let appended = draft(event, create.origin_server_ts)
                .and_then(|draft| self.append(decided, draft, Cause::default(), |_| Ok(())));
            if let Err(error) = appended {
                *self.room.loaded.borrow_mut() = None;
                decided.events.clear();
                decided.redacted.clear();
                decided.groups = Groups::after(None);
                return Err(invalid_state(error));
            }
        }
        decided.create = Some(create.clone());
        Ok(Outcome::Created(decided.events.len() - 1))
    }

    fn send(&self, decided: &mut Decided, send: &SendEvent) -> Result<Outcome, ApiError> {
        let now_ms = self.context.now_ms();
        if let Some(outcome) = self.repeated(decided, send.transaction.as_ref()) {
            return Ok(outcome);
        }
        let draft = draft(&send.event, send.origin_server_ts.unwrap_or(now_ms))?;
        self.needs.standing.check(decided, send.delayed.as_ref(), &draft)?;
        if let Some(outcome) = self.unchanged(decided, &draft)? {
            return Ok(outcome);
        }
        let is_counted = self.context.limits_sending(&send.event.sender);
        if is_counted {
            self.room.limits.take(send.event.sender.as_str(), now_ms)?;
        }
        let is_state = draft.state_key.is_some();
        let target = draft.redacts.clone();
        let event_type = draft.event_type.clone();
        let same_in_group = related::is_repeated(decided, &draft);
        let (transaction, delayed) = (send.transaction.clone(), send.delayed.clone());
        let cause = Cause { transaction, delayed, is_counted };
        let outcome = self.append(decided, draft, cause, |event| {
            self.needs.relations.check(event, same_in_group)?;
            if event_type != TimelineEventType::RoomRedaction {
                return Ok(());
            }
            let target = target.as_ref().and_then(|id| self.needs.targets.get(id));
            self.check_redaction(event, target)
        });
        if outcome.is_err() && is_counted && send.presumed.is_some() {
            // It will be asked, and counted, again.
            self.room.limits.give_back(send.event.sender.as_str());
        }
        let outcome = outcome?;
        if is_state && event_type == TimelineEventType::RoomGuestAccess {
            self.remove_guests(decided)?;
        }
        Ok(outcome)
    }

    /// Guests leave, by themselves as it were, when the room is closed to them.
    fn remove_guests(&self, decided: &mut Decided) -> Result<(), ApiError> {
        let server_name = self.context.server_name();
        let guests = {
            let loaded = self.room.loaded.borrow();
            let room = loaded.as_ref().ok_or_else(no_such_room)?;
            let is_local = |user: &UserId| user.server_name() == server_name;
            membership_change::guests_to_remove(&room.snapshot, is_local)
        };
        for guest in guests {
            let draft = Draft {
                event_type: TimelineEventType::RoomMember,
                state_key: Some(guest.to_string()),
                sender: guest,
                content: Map::from_iter([("membership".to_owned(), Value::from("leave"))]),
                redacts: None,
                origin_server_ts: timestamp(self.context.now_ms()),
            };
            self.append(decided, draft, Cause::default(), |_| Ok(()))?;
        }
        Ok(())
    }

    fn check_redaction(&self, event: &Pdu, target: Option<&Pdu>) -> Result<(), ApiError> {
        let loaded = self.room.loaded.borrow();
        let power_levels = loaded.as_ref().and_then(|loaded| loaded.snapshot.power_levels());
        let power_levels = power_levels.ok_or_else(|| ApiError::internal("room without create"))?;
        check_own_redaction(&power_levels, event, target).map_err(|error| {
            let code = match error.errcode() {
                "M_NOT_FOUND" => ErrorCode::NotFound,
                "M_FORBIDDEN" => ErrorCode::Forbidden,
                _ => ErrorCode::InvalidParam,
            };
            ApiError::new(code, error.to_string())
        })
    }

    fn change_membership(
        &self,
        decided: &mut Decided,
        change: &ChangeMembership,
    ) -> Result<Outcome, ApiError> {
        if let Some(outcome) = self.repeated(decided, change.transaction.as_ref()) {
            return Ok(outcome);
        }
        let content = object(change.content.get())?;
        let server_name = self.context.server_name();
        let joined = self.needs.joined.get(&change.target).map_or(&[][..], Vec::as_slice);
        let decision = {
            let loaded = self.room.loaded.borrow();
            let loaded = loaded.as_ref().ok_or_else(|| unknown_room(change.action))?;
            let change = Change {
                action: change.action,
                sender: &change.sender,
                target: &change.target,
                content,
                sender_is_guest: change.sender_is_guest,
                joined_allowed_rooms: joined,
            };
            let is_local = |user: &UserId| user.server_name() == server_name;
            membership_change::decide(&loaded.snapshot, change, is_local).map_err(change_error)?
        };
        let content = match decision {
            Decision::Append(content) => content,
            Decision::Unchanged => return self.current_member(decided, &change.target),
        };
        let draft = Draft {
            event_type: TimelineEventType::RoomMember,
            state_key: Some(change.target.to_string()),
            sender: change.sender.clone(),
            content,
            redacts: None,
            origin_server_ts: timestamp(self.context.now_ms()),
        };
        self.needs.standing.check(decided, change.delayed.as_ref(), &draft)?;
        let (transaction, delayed) = (change.transaction.clone(), change.delayed.clone());
        let cause = Cause { transaction, delayed, is_counted: false };
        self.append(decided, draft, cause, |_| Ok(()))
    }

    /// Prepares an event, lets `check` look at it, and appends it.
    fn append(
        &self,
        decided: &mut Decided,
        draft: Draft,
        cause: Cause,
        check: impl FnOnce(&Pdu) -> Result<(), ApiError>,
    ) -> Result<Outcome, ApiError> {
        // SQLite's text functions end at a NUL, so that two keys could be taken for one.
        let texts = [Some(draft.event_type.to_string()), draft.state_key.clone()];
        if texts.iter().flatten().any(|text| text.contains('\0')) {
            return Err(ApiError::bad_json("'type' and 'state_key' must not contain NUL"));
        }
        let localpart = self.context.random_string(18);
        let author = Author {
            server_name: self.context.server_name(),
            key: &self.keys.signing_key,
            event_id_localpart: &localpart,
        };
        let (event, replaced) = {
            let loaded = self.room.loaded.borrow();
            let room = loaded.as_ref().ok_or_else(no_such_room)?;
            let replaced = room.snapshot.replaced_by(&draft).cloned();
            (room.snapshot.prepare(draft, author).map_err(append_error)?, replaced)
        };
        if event.room_id != self.room.room_id {
            return Err(ApiError::internal("the create event gives the room another id"));
        }
        check(&event)?;
        let mut loaded = self.room.loaded.borrow_mut();
        let room = loaded.as_mut().ok_or_else(no_such_room)?;
        let mut notices = room.audience.notices(&event, || room.snapshot.power_levels());
        push::leave_out_services(self.context, &mut notices);
        let redacted = room.snapshot.push(&event).map_err(ApiError::internal)?;
        redacted.iter().chain([&event]).for_each(|event| room.audience.apply(event));
        decided.redacted.extend(redacted);
        decided.groups.add(&event, &room.snapshot);
        let Cause { transaction, delayed, is_counted } = cause;
        let written = Written { event, transaction, replaced, notices, delayed, is_counted };
        decided.events.push(written);
        Ok(Outcome::Event(decided.events.len() - 1))
    }

    /// The event of an equal request: of this group, or of a commit a while ago.
    fn repeated(&self, decided: &Decided, key: Option<&TransactionKey>) -> Option<Outcome> {
        let key = key?;
        let in_group = decided.events.iter().position(|e| e.transaction.as_ref() == Some(key));
        if let Some(index) = in_group {
            return Some(Outcome::Event(index));
        }
        self.room.transactions.borrow().find(key).map(|reply| Outcome::Reply(Ok(reply)))
    }

    /// State that is already so is not written again.
    fn unchanged(&self, decided: &Decided, draft: &Draft) -> Result<Option<Outcome>, ApiError> {
        let loaded = self.room.loaded.borrow();
        let room = loaded.as_ref().ok_or_else(no_such_room)?;
        let current = room.snapshot.equal_to(draft);
        Ok(current.map(|event| stands(decided, event)))
    }

    fn current_member(&self, decided: &Decided, user_id: &UserId) -> Result<Outcome, ApiError> {
        let loaded = self.room.loaded.borrow();
        let room = loaded.as_ref().ok_or_else(no_such_room)?;
        let event = room.snapshot.get(&StateEventType::RoomMember, user_id.as_str());
        match event {
            Some(event) => Ok(stands(decided, event)),
            None => Ok(Outcome::Reply(Ok(RoomReply::Done))),
        }
    }
}

/// What the options of a new room do not allow themselves.
fn invalid_state(error: ApiError) -> ApiError {
    match error.code() {
        ErrorCode::Forbidden => ApiError::new(ErrorCode::InvalidRoomState, error.message()),
        _ => error,
    }
}

/// An event that stands already: of this group, or of the log.
fn stands(decided: &Decided, event: &Pdu) -> Outcome {
    let in_group = decided.events.iter().position(|e| e.event.event_id == event.event_id);
    match in_group {
        Some(index) => Outcome::Event(index),
        None => Outcome::Reply(Ok(RoomReply::Event {
            event_id: event.event_id.clone(),
            stream_ordering: 0,
        })),
    }
}

fn draft(event: &NewEvent, origin_server_ts: u64) -> Result<Draft, ApiError> {
    Ok(Draft {
        event_type: TimelineEventType::from(event.event_type.as_str()),
        state_key: event.state_key.clone(),
        sender: event.sender.clone(),
        content: object(event.content.get())?,
        redacts: event.redacts.clone(),
        origin_server_ts: timestamp(origin_server_ts),
    })
}

fn timestamp(ms: u64) -> MilliSecondsSinceUnixEpoch {
    MilliSecondsSinceUnixEpoch(UInt::new_saturating(ms))
}

pub fn object(json: &str) -> Result<Map<String, Value>, ApiError> {
    serde_json::from_str(json).map_err(|_| ApiError::bad_json("The content must be an object"))
}

fn no_such_room() -> ApiError {
    ApiError::not_found("There is no such room on this server")
}

fn unknown_room(action: MembershipAction) -> ApiError {
    match action {
        MembershipAction::Leave => ApiError::not_found("Not a known room"),
        MembershipAction::Join | MembershipAction::Knock => {
            ApiError::not_found("Can't join a room that no known server is in")
        }
        _ => ApiError::forbidden("You are not in this room"),
    }
}

fn append_error(error: myelin_protocol::room_snapshot::AppendError) -> ApiError {
    use myelin_protocol::room_snapshot::AppendError;
    match error {
        AppendError::Auth(error) => ApiError::forbidden(error.to_string()),
        AppendError::Build(error) => match error.errcode() {
            "M_BAD_JSON" => ApiError::bad_json(error.to_string()),
            "M_TOO_LARGE" => ApiError::new(ErrorCode::TooLarge, error.to_string()),
            _ => ApiError::internal(error),
        },
        AppendError::Redact(error) => ApiError::internal(error),
    }
}

fn change_error(error: membership_change::ChangeError) -> ApiError {
    use membership_change::ChangeError;
    let message = error.to_string();
    match error {
        ChangeError::NotBanned(_) | ChangeError::Banned(_) => {
            ApiError::new(ErrorCode::BadState, message).with_status(403)
        }
        ChangeError::GuestAccess => ApiError::new(ErrorCode::GuestAccessForbidden, message),
        ChangeError::CannotGrant => ApiError::new(ErrorCode::UnableToGrantJoin, message),
        ChangeError::TooLong(..) => ApiError::bad_json(message),
        ChangeError::NotInRoom
        | ChangeError::AlreadyInRoom(_)
        | ChangeError::NotInvited
        | ChangeError::NotInAllowedRoom => ApiError::forbidden(message),
    }
}
