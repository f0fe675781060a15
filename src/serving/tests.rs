use super::visibility::{GroupStates, Sight, Sighting};
use crate::storage::events::VisibilityRow;

fn sight(visibility: &str, membership: Option<&str>, joined_later: bool) -> Sight {
    let visibility = Some(visibility);
    Sighting { visibility, membership, joined_later, ..Sighting::default() }.decide()
}

#[test]
fn members_see_what_was_sent_while_they_were_in_the_room() {
    for visibility in ["world_readable", "shared", "invited", "joined", "nonsense"] {
        assert_eq!(sight(visibility, Some("join"), false), Sight::FromInside, "{visibility}");
    }
}

#[test]
fn others_see_what_the_history_visibility_at_the_event_allows() {
    let cases = [
        ("world_readable", None, false, Sight::FromOutside),
        ("world_readable", Some("ban"), false, Sight::FromOutside),
        ("shared", None, false, Sight::Hidden),
        ("shared", None, true, Sight::FromOutside),
        ("shared", Some("leave"), false, Sight::Hidden),
        ("invited", Some("invite"), false, Sight::FromOutside),
        ("invited", None, true, Sight::Hidden),
        ("joined", Some("invite"), true, Sight::Hidden),
        ("nonsense", None, true, Sight::FromOutside),
        ("nonsense", None, false, Sight::Hidden),
    ];
    for (visibility, membership, joined_later, expected) in cases {
        assert_eq!(sight(visibility, membership, joined_later), expected, "{visibility}");
    }
}

#[test]
fn a_change_of_the_visibility_is_as_visible_as_its_laxer_side() {
    let change = |before, after| {
        let (visibility, visibility_before) = (Some(after), Some(before));
        Sighting { visibility, visibility_before, ..Sighting::default() }.decide()
    };
    assert_eq!(change("world_readable", "joined"), Sight::FromOutside);
    assert_eq!(change("joined", "world_readable"), Sight::FromOutside);
    assert_eq!(change("joined", "invited"), Sight::Hidden);
}

#[test]
fn everyone_sees_their_own_way_in_and_out() {
    let own = |before, after| {
        let (membership, membership_before) = (Some(after), before);
        let visibility = Some("joined");
        let sighting =
            Sighting { visibility, membership, membership_before, ..Sighting::default() };
        Sighting { is_own_membership: true, ..sighting }.decide()
    };
    assert_eq!(own(None, "join"), Sight::FromInside);
    assert_eq!(own(Some("join"), "leave"), Sight::FromOutside);
    assert_eq!(own(Some("invite"), "leave"), Sight::FromOutside);
    assert_eq!(own(Some("join"), "ban"), Sight::FromInside);
    assert_eq!(own(Some("ban"), "leave"), Sight::Hidden);
}

fn row(group: i64, parent: Option<i64>) -> VisibilityRow {
    VisibilityRow {
        state_group: group,
        prev_state_group: parent,
        visibility_event_id: None,
        history_visibility: None,
        member_event_id: None,
        membership: None,
    }
}

#[test]
fn the_nearest_group_says_what_an_entry_is() {
    let event_id = |id: &str| Some(id.try_into().unwrap());
    let root = VisibilityRow {
        visibility_event_id: event_id("$v1"),
        history_visibility: Some("joined".to_owned()),
        member_event_id: event_id("$m1"),
        membership: Some("join".to_owned()),
        ..row(1, None)
    };
    let left = VisibilityRow {
        member_event_id: event_id("$m2"),
        membership: Some("leave".to_owned()),
        ..row(3, Some(2))
    };
    let groups = GroupStates::new(vec![root, row(2, Some(1)), left]);
    assert_eq!(groups.of(2).membership.as_deref(), Some("join"));
    assert_eq!(groups.of(3).membership.as_deref(), Some("leave"));
    assert_eq!(groups.of(3).history_visibility.as_deref(), Some("joined"));
    assert_eq!(groups.of(4).membership, None);
}

#[test]
fn a_cycle_of_groups_ends() {
    let groups = GroupStates::new(vec![row(1, Some(2)), row(2, Some(1))]);
    assert_eq!(groups.of(1).membership, None);
}
