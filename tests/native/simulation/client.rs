//! A client that syncs: it keeps what it is told, and fills the gaps that it is told of.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::{Value, json};

use super::world::World;
use crate::support::{Account, encode};

/// By type and state key.
pub type State = BTreeMap<(String, String), String>;

/// What a client knows of a room.
#[derive(Clone, Debug, Default)]
pub struct RoomView {
    /// The section that had the room last.
    pub section: String,
    pub was_joined: bool,
    /// Ids, oldest first.
    pub timeline: Vec<String>,
    /// Those of all timelines that are state.
    pub told_state: BTreeSet<String>,
    pub state: State,
    /// The event that each receipt is at, by type, user and thread.
    pub receipts: BTreeMap<String, String>,
    pub typing: Value,
    /// Contents by type.
    pub account_data: BTreeMap<String, Value>,
}

pub type Rooms = BTreeMap<String, RoomView>;

/// What a client asks for, always.
#[derive(Clone, Debug)]
pub struct Wishes {
    pub limit: u64,
    /// Of timelines and pages, as filters have it.
    pub events: Value,
    pub lazy_members: bool,
    /// State is told as it is after the timeline.
    pub state_after: bool,
}

pub struct Client {
    world: World,
    pub account: Account,
    pub wishes: Wishes,
    /// Whether this is the device that sends what its user does.
    pub sends: bool,
    since: RefCell<Option<String>>,
    pub rooms: RefCell<Rooms>,
    pub account_data: RefCell<BTreeMap<String, Value>>,
    /// Events that were served redacted.
    pub redacted: RefCell<BTreeSet<String>>,
    /// Whether it is in the middle of an answer.
    pub is_busy: Cell<bool>,
}

impl Client {
    pub fn new(world: World, account: Account, wishes: Wishes, sends: bool) -> Self {
        Self {
            world,
            account,
            wishes,
            sends,
            since: RefCell::default(),
            rooms: RefCell::default(),
            account_data: RefCell::default(),
            redacted: RefCell::default(),
            is_busy: Cell::default(),
        }
    }

    /// A client of the same account that has never synced.
    pub fn fresh(&self) -> Self {
        let wishes = Wishes { limit: 10, ..self.wishes.clone() };
        Self::new(self.world.clone(), self.account.clone(), wishes, self.sends)
    }

    /// Syncs for ever.
    pub async fn run(self: Rc<Self>) {
        loop {
            self.step(240_000).await;
        }
    }

    /// Syncs until there is nothing new.
    pub async fn catch_up(&self) {
        while self.step(0).await {}
    }

    /// One sync; false if it brought nothing.
    pub async fn step(&self, timeout_ms: u64) -> bool {
        let Wishes { limit, events, lazy_members, state_after } = &self.wishes;
        let mut timeline = events.clone();
        timeline["limit"] = json!(limit);
        let state = json!({ "lazy_load_members": lazy_members });
        let room = json!({ "timeline": timeline, "state": state, "include_leave": true });
        let filter = encode(&json!({ "room": room }).to_string());
        let since = self.since.borrow().as_ref().map(|since| format!("&since={since}"));
        let since = since.unwrap_or_default();
        let full_state = timeout_ms > 0 && self.world.random.one_in(12);
        let path = format!(
            "/_matrix/client/v3/sync?timeout={timeout_ms}&filter={filter}{since}\
             &use_state_after={state_after}&full_state={full_state}"
        );
        let body = self.world.request("GET", &self.account, &path, &Value::Null).await.ok();
        self.is_busy.set(true);
        let sections = ["join", "leave", "invite"];
        let mut is_news = !body["account_data"].is_null();
        keep(&mut self.account_data.borrow_mut(), &body["account_data"]);
        for section in sections {
            for (room_id, room) in body["rooms"][section].as_object().into_iter().flatten() {
                is_news = true;
                self.apply(section, room_id, room).await;
            }
        }
        *self.since.borrow_mut() = body["next_batch"].as_str().map(str::to_owned);
        self.is_busy.set(false);
        is_news
    }

    async fn apply(&self, section: &str, room_id: &str, room: &Value) {
        let mut view = self.rooms.borrow().get(room_id).cloned().unwrap_or_default();
        view.section = section.to_owned();
        view.was_joined |= section == "join";
        let timeline = &room["timeline"];
        self.look_at(&timeline["events"]);
        let ids = ids(&timeline["events"]);
        if timeline["limited"] == true {
            let prev_batch = timeline["prev_batch"].as_str().unwrap();
            let Some(mut all) = self.page_back(room_id, prev_batch).await else {
                // Banned, or out and invited again: they see nothing until they join.
                let view = RoomView { section: section.to_owned(), ..RoomView::default() };
                self.rooms.borrow_mut().insert(room_id.to_owned(), view);
                return;
            };
            all.extend(ids);
            // State may be shown for being the room's present one, which it is no longer.
            view.timeline.retain(|id| !view.told_state.contains(id) || all.contains(id));
            let kept: Vec<_> = all.iter().filter(|id| view.timeline.contains(id)).collect();
            assert_eq!(kept, view.timeline.iter().collect::<Vec<_>>(), "{room_id}: a gap");
            view.timeline = all;
        } else {
            for id in ids {
                assert!(!view.timeline.contains(&id), "{room_id}: {id} comes twice");
                view.timeline.push(id);
            }
        }
        let told = timeline["events"].as_array().into_iter().flatten();
        let told = told.filter(|event| event["state_key"].is_string());
        view.told_state.extend(told.filter_map(|event| event["event_id"].as_str().map(Into::into)));
        let all = [&room["state"], &room["state_after"], timeline];
        let is_create = |event: &Value| event["type"] == "m.room.create";
        if all.iter().any(|list| list["events"].as_array().is_some_and(|l| l.iter().any(is_create)))
        {
            // Told anew, perhaps after they were out: of others' memberships some may be missing.
            view.state.retain(|key, _| !self.wishes.lazy_members || key.0 != "m.room.member");
        }
        if self.wishes.state_after {
            fold(&mut view.state, &room["state_after"]["events"]);
        } else {
            fold(&mut view.state, &room["state"]["events"]);
            fold(&mut view.state, &timeline["events"]);
        }
        keep(&mut view.account_data, &room["account_data"]);
        if section != "join" {
            view.typing = Value::Null;
        }
        for event in room["ephemeral"]["events"].as_array().into_iter().flatten() {
            match event["type"].as_str().unwrap() {
                "m.typing" => view.typing = event["content"]["user_ids"].clone(),
                _ => keep_receipts(&mut view.receipts, &event["content"]),
            }
        }
        self.rooms.borrow_mut().insert(room_id.to_owned(), view);
    }

    /// Everything before a place, oldest first; nothing for who has no business in the room.
    pub async fn page_back(&self, room_id: &str, from: &str) -> Option<Vec<String>> {
        let (mut all, mut from) = (Vec::new(), format!("&from={from}"));
        loop {
            let filter = encode(&self.wishes.events.to_string());
            let path = format!(
                "/_matrix/client/v3/rooms/{room_id}/messages?dir=b&limit=7&filter={filter}{from}"
            );
            let reply = self.world.request("GET", &self.account, &path, &Value::Null).await;
            if reply.status == 403 {
                return None;
            }
            let body = reply.ok();
            self.look_at(&body["chunk"]);
            all.extend(ids(&body["chunk"]));
            let Some(end) = body["end"].as_str() else { break };
            from = format!("&from={end}");
        }
        all.reverse();
        Some(all)
    }

    /// What holds for every event that is served, whenever.
    fn look_at(&self, events: &Value) {
        for event in events.as_array().into_iter().flatten() {
            let unsigned = &event["unsigned"];
            assert!(unsigned["membership"].is_string() && unsigned["age"].is_i64(), "{event}");
            if event["type"] == "m.room.message" {
                let is_ours = self.sends && event["sender"] == self.account.user_id;
                assert_eq!(unsigned["transaction_id"].is_string(), is_ours, "{event}");
            }
            if unsigned["redacted_because"].is_object() {
                assert!(event["content"]["body"].is_null(), "{event}");
                let id = event["event_id"].as_str().unwrap().to_owned();
                self.redacted.borrow_mut().insert(id);
            }
        }
    }
}

fn ids(events: &Value) -> Vec<String> {
    let events = events.as_array().into_iter().flatten();
    events.map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
}

fn fold(state: &mut State, events: &Value) {
    for event in events.as_array().into_iter().flatten() {
        let text = |name: &str| event[name].as_str().map(str::to_owned);
        if let Some(state_key) = text("state_key") {
            state.insert((text("type").unwrap(), state_key), text("event_id").unwrap());
        }
    }
}

fn keep(data: &mut BTreeMap<String, Value>, section: &Value) {
    for event in section["events"].as_array().into_iter().flatten() {
        data.insert(event["type"].as_str().unwrap().to_owned(), event["content"].clone());
    }
}

fn keep_receipts(receipts: &mut BTreeMap<String, String>, content: &Value) {
    for (event_id, kinds) in content.as_object().unwrap() {
        for (kind, users) in kinds.as_object().unwrap() {
            for (user, data) in users.as_object().unwrap() {
                let key = format!("{kind} {user} {}", data["thread_id"]);
                receipts.insert(key, event_id.clone());
            }
        }
    }
}
