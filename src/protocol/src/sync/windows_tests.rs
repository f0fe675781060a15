use super::*;

fn window(before: Option<&str>, memberships: &[&str]) -> RoomWindow {
    let changes = (11..).zip(memberships).map(|(stream_ordering, membership)| MembershipChange {
        room_id: "!room:example.org".try_into().unwrap(),
        event_id: format!("${stream_ordering}").try_into().unwrap(),
        sender: "@alice:example.org".try_into().unwrap(),
        membership: (*membership).to_owned(),
        stream_ordering,
        membership_before: before.map(ToOwned::to_owned),
    });
    let user_id = "@bob:example.org".try_into().unwrap();
    let windows = Windows { user_id, since: Some(10), upto: 20, ignored: &HashSet::new() };
    let mut windows = windows.of_changes(Vec::new(), changes.collect());
    windows.pop_first().unwrap().1
}

#[test]
fn whoever_joins_gets_the_whole_room() {
    for (before, memberships) in [
        (None, vec!["join"]),
        (Some("invite"), vec!["join", "join"]),
        (Some("leave"), vec!["invite", "join"]),
        (Some("join"), vec!["leave", "join"]),
    ] {
        let window = window(before, &memberships);
        assert!(window.is_full && window.newly_joined, "{before:?} {memberships:?}");
        assert_eq!((window.section, window.after, window.upto), (Section::Join, 0, 20));
    }
}

#[test]
fn a_new_profile_is_no_join() {
    let window = window(Some("join"), &["join", "join"]);
    assert!(!window.is_full && !window.newly_joined);
    assert_eq!((window.section, window.after), (Section::Join, 10));
}

#[test]
fn whoever_leaves_gets_what_came_before() {
    let left = window(Some("join"), &["join", "leave"]);
    assert_eq!(left.section, Section::Leave { was_joined: true, by_choice: false });
    assert_eq!((left.after, left.upto, left.is_full), (10, 12, false));
    let visited = window(None, &["invite", "join", "ban"]);
    assert_eq!(visited.section, Section::Leave { was_joined: true, by_choice: false });
    assert_eq!((visited.after, visited.upto, visited.is_full), (0, 13, true));
    let declined = window(Some("invite"), &["leave"]);
    assert_eq!(declined.section, Section::Leave { was_joined: false, by_choice: false });
    assert_eq!((declined.upto, declined.is_full), (11, false));
}

#[test]
fn the_last_word_counts() {
    let invited = window(Some("leave"), &["knock", "invite"]);
    assert_eq!(invited.section, Section::Invite("$12".try_into().unwrap()));
    let knocking = window(None, &["knock"]);
    assert_eq!(knocking.section, Section::Knock("$11".try_into().unwrap()));
}
