use serde_json::{Value, json};

use super::*;

const ME: &str = "@me:example.org";

fn room(name: &str, membership: &str, sender: &str, stream_ordering: i64) -> UserRoom {
    UserRoom {
        room_id: format!("!{name}:example.org").try_into().unwrap(),
        membership: membership.to_owned(),
        sender: sender.try_into().unwrap(),
        event_id: format!("${name}").try_into().unwrap(),
        stream_ordering,
        joined_stream_ordering: None,
        has_known_state: true,
        room_type: None,
        is_encrypted: false,
        last_stream_ordering: None,
        bump_stamp: None,
    }
}

/// Rooms `a` (oldest) to `d`, and invitations, kicks and leaves.
fn house() -> BTreeMap<OwnedRoomId, UserRoom> {
    let other = "@other:example.org";
    let mut rooms = vec![
        room("invited", "invite", other, 5),
        room("knocking", "knock", ME, 6),
        room("kicked", "leave", other, 7),
        room("banned", "ban", other, 8),
        room("left", "leave", ME, 9),
        room("unwanted", "invite", "@ignored:example.org", 10),
    ];
    for (index, name) in (0..).zip(["a", "b", "c", "d"]) {
        let mut joined = room(name, "join", ME, index);
        // Not the other way about: what bumps a room is no matter.
        joined.bump_stamp = Some(30 - index);
        joined.last_stream_ordering = Some(40 + index);
        joined.is_encrypted = name == "a";
        joined.room_type = (name == "b").then(|| "m.space".to_owned());
        rooms.push(joined);
    }
    rooms[3].joined_stream_ordering = Some(1);
    rooms.push(room("never", "ban", other, 9));
    rooms.into_iter().map(|room| (room.room_id.clone(), room)).collect()
}

fn view(since: Option<i64>, request: Value) -> View {
    let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect();
    let id = |name: &str| OwnedRoomId::try_from(format!("!{name}:example.org")).unwrap();
    let rooms = Rooms {
        user_id: ME.try_into().unwrap(),
        since,
        rooms: &house(),
        direct: &HashSet::from([id("c"), id("invited")]),
        tags: &HashMap::from([(id("a"), tags(&["m.favourite"])), (id("b"), tags(&["u.x"]))]),
        spaces: &HashMap::from([(id("b"), HashSet::from([id("c"), id("invited"), id("far")]))]),
        ignored: &HashSet::from(["@ignored:example.org".try_into().unwrap()]),
    };
    rooms.view(&serde_json::from_value(request).unwrap())
}

fn names<'a>(rooms: impl IntoIterator<Item = &'a OwnedRoomId>) -> Vec<&'a str> {
    rooms.into_iter().map(|id| &id.as_str()[1..id.as_str().find(':').unwrap()]).collect()
}

fn filtered(filters: Value) -> Vec<String> {
    let list = json!({ "ranges": [[0, 99]], "timeline_limit": 1, "filters": filters });
    let view = view(None, json!({ "lists": { "all": list } }));
    let names = names(&view.lists["all"].rooms).into_iter().map(str::to_owned).collect();
    assert_eq!(view.lists["all"].count, view.lists["all"].rooms.len());
    names
}

#[test]
fn the_most_recent_rooms_are_in_the_first_places() {
    let list = |ranges: Value| json!({ "ranges": ranges, "timeline_limit": 1 });
    let request = json!({ "lists": {
        "first": list(json!([[0, 1]])), "some": list(json!([[1, 1], [3, 4]])),
        "far": list(json!([[90, 99]])), "none": list(json!([])), "all": list(json!([[0, 7]])),
    } });
    let view = view(None, request);
    assert!(view.lists.values().all(|list| list.count == 8));
    assert_eq!(names(&view.lists["first"].rooms), ["c", "d"]);
    assert_eq!(names(&view.lists["some"].rooms), ["a", "banned", "c"]);
    assert!(view.lists["far"].rooms.is_empty() && view.lists["none"].rooms.is_empty());
    let all = ["a", "b", "banned", "c", "d", "invited", "kicked", "knocking"];
    assert_eq!(names(&view.lists["all"].rooms), all);
    assert_eq!(names(view.rooms.keys()), all);
}

#[test]
fn who_has_left_is_told_so_once() {
    let request = json!({ "lists": { "all": { "ranges": [[0, 99]], "timeline_limit": 1 } } });
    let later = view(Some(9), request.clone());
    assert!(!names(&later.lists["all"].rooms).contains(&"left") && later.is_complete);
    let at_once = view(Some(8), request);
    assert!(names(&at_once.lists["all"].rooms).contains(&"left"));
    assert!(!at_once.is_complete, "it will not be listed the next time");
    assert!(names(&at_once.lists["all"].rooms).contains(&"never"), "who was invited learns of it");
}

#[test]
fn a_view_is_complete_if_nothing_is_out_of_range() {
    let is_complete = |range: Value, filters: Value| {
        let list = json!({ "ranges": range, "timeline_limit": 1, "filters": filters });
        view(None, json!({ "lists": { "all": list } })).is_complete
    };
    assert!(is_complete(json!([[0, 7]]), json!({})));
    assert!(is_complete(json!([[0, 2], [0, 99]]), json!({ "is_dm": true })));
    assert!(is_complete(json!([]), json!({ "tags": [] })));
    assert!(!is_complete(json!([[0, 6]]), json!({})));
    assert!(!is_complete(json!([[1, 99]]), json!({})));
    assert!(!is_complete(json!([[0, 99]]), json!({ "is_encrypted": false })));
    assert!(!is_complete(json!([[0, 99]]), json!({ "spaces": ["!b:example.org"] })));
}

#[test]
fn each_filter_leaves_rooms_out() {
    assert_eq!(filtered(json!({ "is_dm": true })), ["c", "invited"]);
    assert_eq!(filtered(json!({ "is_dm": true, "is_invite": false })), ["c"]);
    assert_eq!(filtered(json!({ "is_invite": true })), ["invited"]);
    let in_spaces = filtered(json!({ "spaces": ["!b:example.org", "!unknown:example.org"] }));
    assert_eq!(in_spaces, ["c", "invited"]);
    assert!(filtered(json!({ "spaces": [] })).is_empty());
    assert_eq!(filtered(json!({ "is_encrypted": true })), ["a"]);
    assert_eq!(filtered(json!({ "room_types": ["m.space"] })), ["b"]);
    assert!(filtered(json!({ "room_types": [] })).is_empty());
    let untyped = filtered(json!({ "room_types": [null, "m.space"], "is_invite": false }));
    assert_eq!(untyped, ["a", "b", "banned", "c", "d", "kicked", "knocking"]);
    assert_eq!(filtered(json!({ "not_room_types": [null] })), ["b"]);
    assert_eq!(filtered(json!({ "tags": ["m.favourite", "u.x"] })), ["a", "b"]);
    assert_eq!(filtered(json!({ "tags": ["m.favourite", "u.x"], "not_tags": ["u.x"] })), ["a"]);
}

#[test]
fn subscriptions_add_to_what_lists_want() {
    let wish = |limit: u64, event_type: &str| -> Value {
        json!({ "timeline_limit": limit, "required_state": [[event_type, ""]] })
    };
    let mut list = wish(1, "m.room.name");
    list["ranges"] = json!([[0, 0]]);
    let request = json!({
        "lists": { "first": list },
        "room_subscriptions": {
            "!d:example.org": wish(20, "m.room.topic"), "!left:example.org": wish(3, "m.room.name"),
            "!unknown:example.org": wish(1, "m.room.name"),
        },
    });
    let view = view(None, request);
    assert_eq!(names(view.rooms.keys()), ["d", "left"]);
    let room = &view.rooms.values().next().unwrap();
    assert_eq!((room.timeline_limit, room.required_state.len()), (20, 2));
    assert_eq!(view.lists["first"].rooms.len(), 1);
}

#[test]
fn a_room_moves_with_what_the_user_sees_of_it() {
    let rooms = house();
    let moved = |name: &str, since: i64| {
        rooms[&OwnedRoomId::try_from(format!("!{name}:example.org")).unwrap()].has_moved(since)
    };
    assert!(moved("a", 39) && !moved("a", 40));
    assert!(moved("kicked", 6) && !moved("kicked", 7));
    let window = |name: &str| {
        let id = OwnedRoomId::try_from(format!("!{name}:example.org")).unwrap();
        rooms[&id].window(ME.try_into().unwrap(), None, 50)
    };
    assert_eq!((window("a").upto, window("banned").upto), (50, 8));
    assert_eq!(window("left").section, Section::Leave { was_joined: false, by_choice: true });
    assert!(window("a").is_full && window("invited").section != Section::Join);
}
