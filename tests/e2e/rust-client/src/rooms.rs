//! What a session knows of its rooms, and what it does in them.

use matrix_sdk::{
    RoomMemberships, RoomState,
    deserialized_responses::RawAnySyncOrStrippedState,
    ruma::{
        EventId, OwnedUserId, RoomId, UserId,
        api::client::room::create_room::v3::{Request, RoomPreset},
        events::{
            InitialStateEvent,
            room::{encryption::RoomEncryptionEventContent, member::MembershipState},
        },
    },
};
use serde_json::{Map, Value, json};

use crate::{error::Failure, session::Session};

impl Session {
    /// The rooms by their id: what a list of rooms shows of them.
    pub async fn rooms(&self) -> Result<Value, Failure> {
        let mut rooms = Map::new();
        for room in self.client()?.rooms() {
            let name = room.display_name().await.map_err(Failure::from_debug)?;
            let shown = json!({
                "membership": word(room.state()),
                "name": name.to_string(),
                "joined": room.joined_members_count(),
                "encrypted": room.encryption_state().is_encrypted(),
            });
            rooms.insert(room.room_id().to_string(), shown);
        }
        Ok(Value::Object(rooms))
    }

    pub async fn create_room(
        &self,
        name: String,
        invite: Vec<OwnedUserId>,
        encrypted: bool,
    ) -> Result<Value, Failure> {
        let mut request = Request::new();
        request.name = Some(name);
        request.invite = invite;
        request.preset = Some(RoomPreset::PrivateChat);
        if encrypted {
            let content = RoomEncryptionEventContent::with_recommended_defaults();
            let event = InitialStateEvent::with_empty_state_key(content);
            request.initial_state.push(event.to_raw_any());
        }
        let room = self.client()?.create_room(request).await?;
        Ok(json!({ "room_id": room.room_id() }))
    }

    pub async fn join(&self, room_id: &RoomId) -> Result<(), Failure> {
        self.client()?.join_room_by_id(room_id).await?;
        Ok(())
    }

    pub async fn send(&self, room: &RoomId, kind: &str, content: Value) -> Result<Value, Failure> {
        let sent = self.room(room)?.send_raw(kind, content).await?;
        Ok(json!({ "event_id": sent.response.event_id }))
    }

    pub async fn send_state(
        &self,
        room: &RoomId,
        kind: &str,
        state_key: &str,
        content: Value,
    ) -> Result<Value, Failure> {
        let sent = self.room(room)?.send_state_event_raw(kind, state_key, content).await?;
        Ok(json!({ "event_id": sent.event_id }))
    }

    pub async fn redact(&self, room: &RoomId, event: &EventId) -> Result<Value, Failure> {
        let sent = self.room(room)?.redact(event, None, None).await?;
        Ok(json!({ "event_id": sent.event_id }))
    }

    /// The events of these types in the state that the store holds.
    pub async fn state(&self, room: &RoomId, types: Vec<String>) -> Result<Value, Failure> {
        let room = self.room(room)?;
        let mut events = Vec::new();
        for kind in types {
            for event in room.get_state_events(kind.into()).await? {
                events.push(match event {
                    RawAnySyncOrStrippedState::Sync(raw) => raw.deserialize_as_unchecked()?,
                    RawAnySyncOrStrippedState::Stripped(raw) => raw.deserialize_as_unchecked()?,
                });
            }
        }
        Ok(Value::Array(events))
    }

    /// Everybody's membership, asked of the server where the client has not been told of all.
    pub async fn members(&self, room: &RoomId) -> Result<Value, Failure> {
        let members = self.room(room)?.members(RoomMemberships::all()).await?;
        let shown = |member: &matrix_sdk::room::RoomMember| {
            (member.user_id().to_string(), json!(member.membership()))
        };
        Ok(Value::Object(members.iter().map(shown).collect()))
    }

    /// Waits until this client knows that `user` has joined.
    pub async fn wait_member(&self, room_id: &RoomId, user: &UserId) -> Result<Value, Failure> {
        let mut updates = self.client()?.subscribe_to_all_room_updates();
        let room = self.client()?.await_room_remote_echo(room_id).await;
        loop {
            let member = room.get_member(user).await?;
            if member.is_some_and(|member| *member.membership() == MembershipState::Join) {
                return Ok(json!({}));
            }
            // Lagging behind is no harm: the member is looked at again.
            let _ = updates.recv().await;
        }
    }

    /// Waits until this user's membership is `membership`.
    pub async fn wait_room(&self, room_id: &RoomId, membership: &str) -> Result<Value, Failure> {
        let client = self.client()?;
        let mut updates = client.subscribe_to_all_room_updates();
        loop {
            if client.get_room(room_id).is_some_and(|room| word(room.state()) == membership) {
                return Ok(json!({}));
            }
            // Lagging behind is no harm: the state is looked at again.
            let _ = updates.recv().await;
        }
    }
}

fn word(state: RoomState) -> &'static str {
    match state {
        RoomState::Joined => "join",
        RoomState::Left => "leave",
        RoomState::Invited => "invite",
        RoomState::Knocked => "knock",
        RoomState::Banned => "ban",
    }
}
