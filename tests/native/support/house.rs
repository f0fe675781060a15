//! A server with rooms that are written by their own writers, without the endpoints that write.

use myelin::context::Platform;
use myelin::durable::{
    ChangeMembership, CreateRoom, MembershipAction, NewEvent, RoomCommand, RoomReply, SendEvent,
    TransactionKey,
};
use myelin::storage::database::Statement;
use ruma::{OwnedUserId, RoomId, RoomVersionId};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use super::{Account, Server};

pub struct House {
    pub server: Server,
}

/// A room with two in it, in a house of its own.
pub struct Room {
    pub house: House,
    pub alice: Account,
    pub bob: Account,
    pub room_id: String,
}

pub fn room() -> Room {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let room_id = house.room(&alice, "shared");
    house.join(&room_id, &bob);
    Room { house, alice, bob, room_id }
}

impl House {
    pub fn new() -> Self {
        Self { server: Server::new() }
    }

    pub fn account(&self, name: &str) -> Account {
        self.server.register(name)
    }

    pub fn batch(&self, statements: Vec<Statement>) {
        self.server.platform.sqlite.batch(&statements).unwrap();
    }

    pub fn command(&self, room_id: &str, command: RoomCommand) -> RoomReply {
        let (platform, room_id) = (self.server.platform.clone(), RoomId::parse(room_id).unwrap());
        self.server.run(async move { platform.room(&room_id, command).await.unwrap() })
    }

    /// A room of version 10 that everyone may join.
    pub fn room(&self, creator: &Account, history_visibility: &str) -> String {
        let state = |event_type: &str, state_key: &str, content: Value| NewEvent {
            sender: user(creator),
            event_type: event_type.to_owned(),
            state_key: Some(state_key.to_owned()),
            content: to_raw_value(&content).unwrap(),
            redacts: None,
        };
        let visibility = json!({ "history_visibility": history_visibility });
        let events = vec![
            state("m.room.create", "", json!({ "room_version": "10", "creator": creator.user_id })),
            state("m.room.member", &creator.user_id, json!({ "membership": "join" })),
            state("m.room.power_levels", "", json!({ "users": { &creator.user_id: 100 } })),
            state("m.room.join_rules", "", json!({ "join_rule": "public" })),
            state("m.room.history_visibility", "", visibility),
        ];
        let room_id = format!("!{}:example.org", self.server.rows("SELECT * FROM rooms").len());
        let create = CreateRoom {
            room_version: RoomVersionId::V10,
            events,
            origin_server_ts: self.server.platform.now_ms(),
            alias: None,
            is_public: false,
        };
        self.command(&room_id, RoomCommand::Create(create));
        room_id
    }

    pub fn membership(
        &self,
        action: MembershipAction,
        room_id: &str,
        sender: &Account,
        of: &Account,
    ) {
        let change = ChangeMembership {
            action,
            sender: user(sender),
            target: user(of),
            content: to_raw_value(&json!({})).unwrap(),
            sender_is_guest: false,
            transaction: None,
            delayed: None,
        };
        self.command(room_id, RoomCommand::ChangeMembership(change));
    }

    pub fn join(&self, room_id: &str, account: &Account) {
        self.membership(MembershipAction::Join, room_id, account, account);
    }

    pub fn leave(&self, room_id: &str, account: &Account) {
        self.membership(MembershipAction::Leave, room_id, account, account);
    }

    pub fn send(&self, room_id: &str, sender: &Account, event: Value) -> String {
        let new = NewEvent {
            sender: user(sender),
            event_type: event["type"].as_str().unwrap().to_owned(),
            state_key: event["state_key"].as_str().map(ToOwned::to_owned),
            content: to_raw_value(&event["content"]).unwrap(),
            redacts: event["redacts"].as_str().map(|id| id.try_into().unwrap()),
        };
        let transaction = event["txn_id"].as_str().map(|txn_id| TransactionKey {
            user_id: user(sender),
            device_id: sender.device_id.as_str().into(),
            txn_id: txn_id.to_owned(),
        });
        let send = SendEvent { transaction, ..SendEvent::new(new) };
        match self.command(room_id, RoomCommand::Send(send)) {
            RoomReply::Event { event_id, .. } => event_id.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// What sends a message, for a moment of the caller's choice.
    pub fn message_command(&self, sender: &Account, body: &str) -> RoomCommand {
        let content = json!({ "msgtype": "m.text", "body": body });
        let event = NewEvent {
            sender: user(sender),
            event_type: "m.room.message".to_owned(),
            state_key: None,
            content: to_raw_value(&content).unwrap(),
            redacts: None,
        };
        RoomCommand::Send(SendEvent::new(event))
    }

    pub fn message(&self, room_id: &str, sender: &Account, body: &str) -> String {
        let content = json!({ "msgtype": "m.text", "body": body });
        self.send(room_id, sender, json!({ "type": "m.room.message", "content": content }))
    }

    pub fn name(&self, room_id: &str, sender: &Account, name: &str) {
        let content = json!({ "name": name });
        let event = json!({ "type": "m.room.name", "state_key": "", "content": content });
        self.send(room_id, sender, event);
    }
}

fn user(account: &Account) -> OwnedUserId {
    account.user_id.as_str().try_into().unwrap()
}
