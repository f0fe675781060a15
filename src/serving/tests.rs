use super::group_states::GroupStates;
use crate::storage::events::VisibilityRow;

fn json(event_type: &str, content: &serde_json::Value) -> Option<String> {
    let event = serde_json::json!({
        "type": event_type, "state_key": "", "sender": "@a:b", "room_id": "!r:b", "depth": 1,
        "content": content, "origin_server_ts": 1, "prev_events": [], "auth_events": [],
    });
    Some(event.to_string())
}

fn row(group: i64, parent: Option<i64>) -> VisibilityRow {
    VisibilityRow {
        state_group: group,
        prev_state_group: parent,
        room_id: Some("!r:b".try_into().unwrap()),
        visibility_id: None,
        visibility_json: None,
        member_id: None,
        member_json: None,
    }
}

#[test]
fn the_nearest_group_says_what_an_entry_is() {
    let event_id = |id: &str| Some(id.try_into().unwrap());
    let content = serde_json::json!({});
    let root = VisibilityRow {
        visibility_id: event_id("$v1"),
        visibility_json: json("m.room.history_visibility", &content),
        member_id: event_id("$m1"),
        member_json: json("m.room.member", &content),
        ..row(1, None)
    };
    let left = VisibilityRow {
        member_id: event_id("$m2"),
        member_json: json("m.room.member", &content),
        ..row(3, Some(2))
    };
    let groups = GroupStates::new(vec![root, row(2, Some(1)), left]);
    let member_of = |group| Some(groups.of(group).member?.event_id.to_string());
    assert_eq!(member_of(2).as_deref(), Some("$m1"));
    assert_eq!(member_of(3).as_deref(), Some("$m2"));
    assert_eq!(groups.of(3).history_visibility.unwrap().event_id, "$v1");
    assert!(groups.of(4).member.is_none());
}

#[test]
fn a_cycle_of_groups_ends() {
    let groups = GroupStates::new(vec![row(1, Some(2)), row(2, Some(1))]);
    assert!(groups.of(1).member.is_none());
}
