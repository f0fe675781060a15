//! A room in the writer's memory, and how it comes there: one batch.

use std::cell::RefCell;
use std::rc::Rc;

use myelin_protocol::event_builder::EventReference;
use myelin_protocol::pdu::Pdu;
use myelin_protocol::push_audience::Audience;
use myelin_protocol::room_snapshot::RoomSnapshot;
use myelin_protocol::room_state::membership;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, OwnedUserId, RoomVersionId, ServerName, UserId};

use super::push;
use crate::context::Context;
use crate::error::ApiError;
use crate::storage::database::Results;
use crate::storage::rooms::{self, ExtremityRow, RoomRow, StateEventRow};

/// What the writer knows of its room.
pub struct Loaded {
    pub snapshot: RoomSnapshot,
    /// Of the last commit.
    pub epoch: i64,
    /// The state group of the newest event; `None` makes the next one a full group.
    pub state_group: Option<i64>,
    /// How many hops there are from it to a full group.
    pub hops: usize,
    /// Rises with every change of who is joined: the epoch of that commit.
    pub members_version: i64,
    /// Our members with their push rules.
    pub audience: Audience,
    /// The position of the push rules stream from which they are.
    pub push_rules_position: i64,
    /// What was read of relations before this position of the log may be old; `None`: all of it,
    /// for who has just loaded a room does not know how far the log goes.
    pub relations_position: Option<i64>,
    local_members: RefCell<Option<(i64, Rc<[OwnedUserId]>)>>,
}

impl Loaded {
    /// A room that does not exist yet.
    pub fn empty(snapshot: RoomSnapshot, server_name: &ServerName) -> Self {
        Self {
            audience: Audience::new(snapshot.room_id.clone(), server_name.to_owned()),
            snapshot,
            epoch: 0,
            state_group: None,
            hops: 0,
            members_version: 0,
            push_rules_position: 0,
            relations_position: None,
            local_members: RefCell::default(),
        }
    }

    /// Our joined members; gathered once per version.
    pub fn local_members(&self, server_name: &ServerName) -> Rc<[OwnedUserId]> {
        let mut known = self.local_members.borrow_mut();
        if let Some((version, members)) = known.as_ref()
            && *version == self.members_version
        {
            return members.clone();
        }
        let joined = self
            .snapshot
            .members()
            .filter(|event| membership(Some(event)) == MembershipState::Join);
        let users = joined.filter_map(|event| UserId::parse(event.state_key.as_deref()?).ok());
        let members: Rc<[OwnedUserId]> =
            users.filter(|user| user.server_name() == server_name).collect();
        *known = Some((self.members_version, members.clone()));
        members
    }
}

/// Loads a room. `None`: there is no such room.
///
/// # Errors
/// If the database fails, or holds what is not an event.
pub async fn load(context: &Context, room_id: &OwnedRoomId) -> Result<Option<Loaded>, ApiError> {
    let mut batch = rooms::select_for_writer(room_id.as_str()).to_vec();
    batch.extend(push::select_rules(room_id));
    let mut results = Results::new(context.batch(batch).await?);
    let Some(room) = results.first::<RoomRow>()? else {
        return Ok(None);
    };
    let state: Vec<StateEventRow> = results.rows()?;
    let extremities: Vec<ExtremityRow> = results.rows()?;
    let push_rules = push::read_rules(&mut results)?;
    let RoomRow { room_version, epoch } = room;
    let rules = rules(&room_version)?;
    let parse = |event_id, json| {
        Pdu::from_json(event_id, room_id.clone(), json, &rules, false).map_err(ApiError::internal)
    };
    let current = |row: StateEventRow| row.into_event(room_id, &rules).map_err(ApiError::internal);
    let state: Vec<Pdu> = state.into_iter().map(current).collect::<Result<_, _>>()?;
    let depth = extremities.iter().map(|row| row.depth).max().unwrap_or(0);
    // With several extremities the state is their resolution: it has no group of its own yet.
    let (state_group, hops) = match extremities.as_slice() {
        [only] => (only.state_group, only.hops),
        _ => (None, 0),
    };
    let mut references = Vec::with_capacity(extremities.len());
    for row in extremities {
        let event = parse(row.event_id, row.json)?;
        references.push(EventReference::to(&event, &rules).map_err(ApiError::internal)?);
    }
    let snapshot =
        RoomSnapshot::new(room_id.clone(), room_version, rules, state, references, depth);
    let mut loaded = Loaded::empty(snapshot, context.server_name());
    push_rules.apply(&mut loaded);
    loaded.snapshot.members().for_each(|event| loaded.audience.apply(event));
    Ok(Some(Loaded { epoch, state_group, hops, members_version: epoch, ..loaded }))
}

/// The rules of a room version.
///
/// # Errors
/// For a version that this server does not know: such a room is not made, nor joined.
pub fn rules(
    version: &RoomVersionId,
) -> Result<ruma::room_version_rules::RoomVersionRules, ApiError> {
    version.rules().ok_or_else(|| ApiError::internal(format!("room version {version}")))
}
