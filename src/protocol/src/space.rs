//! Spaces: who may know of a room, which events make a room the child of another, and the order
//! in which a walk through a space comes to its rooms. Client-Server API, "Spaces".

use std::collections::{HashMap, HashSet};

use ruma::SpaceChildOrder;
use ruma::events::room::member::MembershipState;
use ruma::room::JoinRuleKind;
use ruma::room_version_rules::RoomVersionRules;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What decides who may know of a room.
#[derive(Clone, Debug)]
pub struct Preview<'a> {
    pub rules: &'a RoomVersionRules,
    pub join_rule: &'a JoinRuleKind,
    pub is_world_readable: bool,
    /// The reader's; a stranger has none.
    pub membership: Option<&'a MembershipState>,
    /// Whether the reader is in a room whose members the join rule lets in.
    pub is_in_allowed_room: bool,
}

impl Preview<'_> {
    /// Whether the room is shown: to those who are in it, may enter or ask to, or may read it.
    pub fn is_shown(&self) -> bool {
        let rules = &self.rules.authorization;
        let is_open = match self.join_rule {
            JoinRuleKind::Public => true,
            JoinRuleKind::Knock => rules.knocking,
            JoinRuleKind::Restricted => rules.restricted_join_rule && self.is_in_allowed_room,
            JoinRuleKind::KnockRestricted => rules.knock_restricted_join_rule,
            _ => false,
        };
        let is_in =
            matches!(self.membership, Some(MembershipState::Join | MembershipState::Invite));
        is_open || self.is_world_readable || is_in
    }
}

/// An `m.space.child` event, as much of it as others are told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpaceChild {
    #[serde(rename = "type")]
    pub event_type: &'static str,
    /// The child's room id.
    pub state_key: String,
    pub sender: String,
    pub origin_server_ts: u64,
    pub content: Map<String, Value>,
}

impl SpaceChild {
    /// Without servers to join through it is none.
    fn is_valid(&self) -> bool {
        let via = self.content.get("via").and_then(Value::as_array);
        via.is_some_and(|via| !via.is_empty() && via.iter().all(Value::is_string))
    }

    fn is_suggested(&self) -> bool {
        self.content.get("suggested").is_some_and(|suggested| *suggested == true)
    }

    fn order(&self) -> Option<&str> {
        let order = self.content.get("order").and_then(Value::as_str)?;
        <&SpaceChildOrder>::try_from(order).is_ok().then_some(order)
    }
}

/// The children among these events of one space, in their order.
pub fn children(events: Vec<SpaceChild>, suggested_only: bool) -> Vec<SpaceChild> {
    let is_child =
        |event: &SpaceChild| event.is_valid() && (!suggested_only || event.is_suggested());
    let mut children: Vec<SpaceChild> = events.into_iter().filter(is_child).collect();
    children.sort_by(|one, other| one.place().cmp(&other.place()));
    children
}

impl SpaceChild {
    /// Those without an order come last.
    fn place(&self) -> (bool, Option<&str>, u64, &str) {
        let order = self.order();
        (order.is_none(), order, self.origin_server_ts, &self.state_key)
    }
}

/// A room that a walk has yet to come to, and how far it is from the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedRoom {
    pub room_id: String,
    pub depth: u64,
}

/// What is known of rooms: their children, in order; `None` for those that are not shown.
pub type KnownRooms = HashMap<String, Option<Vec<String>>>;

/// Where a walk through a space stands: depth first, each room once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// The next room is the last.
    room_queue: Vec<QueuedRoom>,
    processed_rooms: HashSet<String>,
}

impl Walk {
    pub fn from(room_id: &str) -> Self {
        let first = QueuedRoom { room_id: room_id.to_owned(), depth: 0 };
        Self { room_queue: vec![first], processed_rooms: HashSet::new() }
    }

    /// Whether the walk has come to all rooms.
    pub fn is_done(&self) -> bool {
        self.room_queue.is_empty()
    }

    /// Goes on to the next rooms that are shown, at most so many, and not past one that is not
    /// known.
    pub fn advance(
        &mut self,
        known: &KnownRooms,
        rooms_max: usize,
        max_depth: Option<u64>,
    ) -> Vec<String> {
        let mut shown = Vec::new();
        while let Some(next) = self.room_queue.pop() {
            if self.processed_rooms.contains(&next.room_id) {
                continue;
            }
            match known.get(&next.room_id) {
                Some(None) => _ = self.processed_rooms.insert(next.room_id),
                Some(Some(children)) if shown.len() < rooms_max => {
                    shown.push(next.room_id.clone());
                    self.enter(next, children, max_depth);
                }
                _ => {
                    self.room_queue.push(next);
                    break;
                }
            }
        }
        shown
    }

    fn enter(&mut self, room: QueuedRoom, children: &[String], max_depth: Option<u64>) {
        if max_depth.is_none_or(|max_depth| room.depth < max_depth) {
            let depth = room.depth + 1;
            let child = |room_id: &String| QueuedRoom { room_id: room_id.clone(), depth };
            self.room_queue.extend(children.iter().rev().map(child));
        }
        self.processed_rooms.insert(room.room_id);
    }

    /// The next rooms that are not known, at most so many: as if they had no children.
    pub fn unknown(
        &self,
        known: &KnownRooms,
        rooms_max: usize,
        max_depth: Option<u64>,
    ) -> Vec<QueuedRoom> {
        let mut ahead = self.clone();
        let mut unknown = Vec::new();
        while unknown.len() < rooms_max {
            ahead.advance(known, usize::MAX, max_depth);
            let Some(next) = ahead.room_queue.pop() else { break };
            ahead.processed_rooms.insert(next.room_id.clone());
            unknown.push(next);
        }
        unknown
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn child(state_key: &str, origin_server_ts: u64, content: Value) -> SpaceChild {
        let Value::Object(content) = content else { panic!("not an object") };
        SpaceChild {
            event_type: "m.space.child",
            state_key: state_key.to_owned(),
            sender: "@a:b".to_owned(),
            origin_server_ts,
            content,
        }
    }

    fn ids(children: &[SpaceChild]) -> Vec<&str> {
        children.iter().map(|child| child.state_key.as_str()).collect()
    }

    #[test]
    fn children_stand_by_order_then_time_then_id() {
        let with = |order: Value| json!({ "via": ["b"], "order": order });
        let events = vec![
            child("!late", 9, json!({ "via": ["b"] })),
            child("!early", 1, json!({ "via": ["b"] })),
            child("!same2", 5, json!({ "via": ["b"] })),
            child("!same1", 5, json!({ "via": ["b"] })),
            child("!b", 9, with(json!("b"))),
            child("!a", 10, with(json!("a"))),
            child("!long", 2, with(json!("x".repeat(51)))),
            child("!control", 3, with(json!("\u{1f}"))),
            child("!number", 4, with(json!(1))),
        ];
        let order = ["!a", "!b", "!early", "!long", "!control", "!number", "!same1", "!same2"];
        assert_eq!(ids(&children(events, false)), [&order[..], &["!late"]].concat());
    }

    #[test]
    fn a_child_needs_servers_and_may_have_to_be_suggested() {
        let events = vec![
            child("!none", 1, json!({})),
            child("!empty", 2, json!({ "via": [] })),
            child("!text", 3, json!({ "via": "b" })),
            child("!mixed", 4, json!({ "via": ["b", 1] })),
            child("!plain", 5, json!({ "via": ["b"], "suggested": "true" })),
            child("!suggested", 6, json!({ "via": ["b"], "suggested": true })),
        ];
        assert_eq!(ids(&children(events.clone(), false)), ["!plain", "!suggested"]);
        assert_eq!(ids(&children(events, true)), ["!suggested"]);
    }

    fn known(rooms: &[(&str, Option<&[&str]>)]) -> KnownRooms {
        let children = |children: &[&str]| children.iter().map(|&id| id.to_owned()).collect();
        rooms.iter().map(|(id, of)| ((*id).to_owned(), of.map(children))).collect()
    }

    #[test]
    fn a_walk_is_depth_first_and_comes_to_each_room_once() {
        let known = known(&[
            ("root", Some(&["a", "hidden", "b"])),
            ("a", Some(&["a1", "root"])),
            ("a1", Some(&[])),
            ("hidden", None),
            ("b", Some(&["a1", "b1"])),
            ("b1", Some(&[])),
        ]);
        let mut walk = Walk::from("root");
        assert_eq!(walk.advance(&known, 2, None), ["root", "a"]);
        assert_eq!(walk.advance(&known, 9, None), ["a1", "b", "b1"]);
        assert!(walk.is_done());
        assert_eq!(Walk::from("root").advance(&known, 9, Some(1)), ["root", "a", "b"]);
        assert_eq!(Walk::from("root").advance(&known, 9, Some(0)), ["root"]);
    }

    #[test]
    fn a_walk_stops_at_what_is_not_known_and_looks_ahead() {
        let mut known = known(&[("root", Some(&["a", "b", "c"])), ("b", Some(&["b1"]))]);
        let mut walk = Walk::from("root");
        assert_eq!(walk.advance(&known, 9, None), ["root"]);
        let ahead = |walk: &Walk, known: &KnownRooms, max| {
            let unknown = walk.unknown(known, max, None).into_iter();
            unknown.map(|room| (room.room_id, room.depth)).collect::<Vec<_>>()
        };
        let expected = [("a", 1), ("b1", 2), ("c", 1)].map(|(id, depth)| (id.to_owned(), depth));
        assert_eq!(ahead(&walk, &known, 9), expected);
        assert_eq!(ahead(&walk, &known, 2), expected[..2]);
        for room in ["a", "b1"] {
            known.insert(room.to_owned(), Some(Vec::new()));
        }
        known.insert("c".to_owned(), None);
        // What is not shown does not keep a walk from its end.
        assert_eq!(walk.advance(&known, 3, None), ["a", "b", "b1"]);
        assert!(walk.is_done());
    }
}
