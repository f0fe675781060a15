//! What must hold when the weather has cleared.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::{Value, json};

use super::client::{Client, State};
use super::world::World;

/// One event of the log, as far as it decides who sees what.
struct Entry {
    event_id: String,
    event_type: String,
    sender: String,
    is_redacted: bool,
    is_state: bool,
    /// Of a membership event.
    member: Option<(String, String)>,
    visibility: Option<String>,
}

/// The log itself: no gap, no double, one line without forks, nothing lost or done twice.
pub fn check_log(world: &World) {
    let rows = |sql| world.server.rows(sql);
    let positions = rows(
        "SELECT count(*) AS n, count(DISTINCT stream_ordering) AS positions,
                max(stream_ordering) - min(stream_ordering) + 1 AS span,
                max(stream_ordering) - (SELECT stream_id FROM stream_positions
                    WHERE stream_name = 'events') AS ahead
         FROM events",
    )
    .remove(0);
    assert_eq!(positions["n"], positions["positions"], "a position is taken twice");
    assert_eq!(positions["n"], positions["span"], "a position is left out");
    assert_eq!(positions["ahead"], 0, "the counter is not where the log ends");
    let forks = rows(
        "SELECT room_id, count(*) AS n FROM event_forward_extremities
         GROUP BY room_id HAVING count(*) <> 1",
    );
    assert!(forks.is_empty(), "{forks:?}");
    let depths = rows("SELECT room_id, depth FROM events GROUP BY 1, 2 HAVING count(*) > 1");
    assert!(depths.is_empty(), "{depths:?}");
    let strays = rows(
        "SELECT stream_id FROM current_state_delta_stream
         WHERE stream_id NOT IN (SELECT stream_ordering FROM events)",
    );
    assert!(strays.is_empty(), "{strays:?}");
    let doubles = rows(
        "SELECT json ->> '$.content.body' AS body FROM event_json
         WHERE json ->> '$.content.body' IS NOT NULL GROUP BY room_id, 1 HAVING count(*) > 1",
    );
    assert!(doubles.is_empty(), "sent twice: {doubles:?}");
    let known = rows("SELECT event_id FROM events");
    let known: BTreeSet<_> = known.iter().filter_map(|row| row["event_id"].as_str()).collect();
    for (_, event_id) in &*world.sent.borrow() {
        assert!(known.contains(event_id.as_str()), "{event_id} is lost");
    }
}

/// One client: what it was told is what there is.
pub fn check_client(world: &World, client: &Rc<Client>) {
    let fresh = Rc::new(client.fresh());
    let syncing = fresh.clone();
    world.server.run(async move { syncing.catch_up().await });
    let who = &client.account.user_id;
    assert!(!client.is_busy.get(), "{who} is still busy");
    assert_eq!(*client.account_data.borrow(), *fresh.account_data.borrow(), "{who}");
    let (rooms, fresh_rooms) = (client.rooms.borrow(), fresh.rooms.borrow());
    for (room_id, new) in &*fresh_rooms {
        let Some(old) = rooms.get(room_id) else { panic!("{who} does not know {room_id}") };
        let at = format!("{who} in {room_id}");
        assert_eq!(old.section, new.section, "{at}");
        if old.section == "invite" || !old.was_joined || !new.was_joined {
            continue;
        }
        assert_eq!(settled(client, &old.state), settled(client, &new.state), "{at}: the state");
        check_timeline(world, client, room_id, &old.timeline);
        if old.section != "join" {
            continue;
        }
        let current = current_state(world, room_id);
        assert_eq!(settled(client, &new.state), settled(client, &current), "{at}: what is now");
        for (key, event_id) in &old.state {
            assert_eq!(current.get(key), Some(event_id), "{at}: {key:?}");
        }
        check_timeline(world, client, room_id, &new.timeline);
        assert_eq!(old.receipts, new.receipts, "{at}");
        assert_eq!(old.account_data, new.account_data, "{at}");
        assert!(typing(&old.typing) == 0 && typing(&new.typing) == 0, "{at}");
        let pages = {
            let (fresh, room_id) = (fresh.clone(), room_id.clone());
            world.server.run(async move {
                let newest = format!("s{}_0", i64::MAX >> 12);
                fresh.page_back(&room_id, &newest).await
            })
        };
        check_timeline(world, client, room_id, &pages.expect("they are in the room"));
        check_redactions(world, &fresh, room_id, &new.timeline);
    }
}

/// What two clients of the same wishes must agree on: of who loads members lazily not those.
fn settled(client: &Client, state: &State) -> State {
    let mut state = state.clone();
    state.retain(|key, _| !client.wishes.lazy_members || key.0 != "m.room.member");
    state
}

/// What has been redacted is served so, wherever it is.
fn check_redactions(world: &World, fresh: &Client, room_id: &str, seen: &[String]) {
    for entry in log(world, room_id).iter().filter(|entry| seen.contains(&entry.event_id)) {
        let is_redacted = fresh.redacted.borrow().contains(&entry.event_id);
        assert_eq!(is_redacted, entry.is_redacted, "{}", entry.event_id);
    }
}

/// Whether a client's filter wants an event: Client-Server API, "Filtering".
fn is_wanted(client: &Client, entry: &Entry) -> bool {
    let list = |name: &str| client.wishes.events[name].as_array();
    let has = |name: &str, text: &str| {
        let matches = |pattern: &Value| glob(pattern.as_str().unwrap(), text);
        list(name).map(|list| list.iter().any(matches))
    };
    has("types", &entry.event_type) != Some(false)
        && has("not_types", &entry.event_type) != Some(true)
        && has("senders", &entry.sender) != Some(false)
        && has("not_senders", &entry.sender) != Some(true)
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => {
            let Some(text) = text.strip_prefix(start) else { return false };
            (0..=text.len()).any(|at| text.is_char_boundary(at) && glob(rest, &text[at..]))
        }
    }
}

fn typing(users: &Value) -> usize {
    users.as_array().map_or(0, Vec::len)
}

fn rows_of_room(world: &World, sql: &'static str, room_id: &str) -> Vec<Value> {
    let mut rows = world.server.rows(sql);
    rows.retain(|row| row["room_id"] == room_id);
    rows
}

fn current_state(world: &World, room_id: &str) -> State {
    let sql = "SELECT room_id, type, state_key, event_id FROM current_state_events";
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = rows_of_room(world, sql, room_id);
    let entry = |row: &Value| ((text(row, "type"), text(row, "state_key")), text(row, "event_id"));
    rows.iter().map(entry).collect()
}

fn log(world: &World, room_id: &str) -> Vec<Entry> {
    let sql = "SELECT e.room_id, e.event_id, e.type, e.state_key, e.sender,
                      EXISTS (SELECT 1 FROM redactions d JOIN events r ON r.event_id = d.event_id
                              WHERE d.redacts = e.event_id AND r.room_id = e.room_id
                                AND e.type <> 'm.room.create'
                                AND r.rejection_reason IS NULL) AS is_redacted,
                      j.json ->> '$.content.membership' AS membership,
                      j.json ->> '$.content.history_visibility' AS visibility
               FROM events e JOIN event_json j ON j.event_id = e.event_id
               ORDER BY e.stream_ordering";
    let text = |row: &Value, name: &str| row[name].as_str().map(str::to_owned);
    let entry = |row: &Value| Entry {
        event_id: text(row, "event_id").unwrap(),
        event_type: text(row, "type").unwrap(),
        sender: text(row, "sender").unwrap(),
        is_redacted: row["is_redacted"] == 1,
        is_state: !row["state_key"].is_null(),
        member: (row["type"] == "m.room.member")
            .then(|| Some((text(row, "state_key")?, text(row, "membership")?)))
            .flatten(),
        visibility: text(row, "visibility"),
    };
    rows_of_room(world, sql, room_id).iter().map(entry).collect()
}

/// Every event that `who` may see is there once, in order, and no other but what tells who is in
/// the room and what it is like.
fn check_timeline(world: &World, client: &Client, room_id: &str, seen: &[String]) {
    let who = &client.account.user_id;
    let log = log(world, room_id);
    let places: BTreeMap<&str, usize> =
        log.iter().enumerate().map(|(place, entry)| (entry.event_id.as_str(), place)).collect();
    let order: Vec<usize> = seen.iter().map(|id| places[id.as_str()]).collect();
    assert!(order.is_sorted_by(|one, next| one < next), "{who} in {room_id}: {order:?}");
    let seen: BTreeSet<usize> = order.into_iter().collect();
    for (place, is_visible) in visible(&log, who).into_iter().enumerate() {
        let entry = &log[place];
        assert!(is_wanted(client, entry) || !seen.contains(&place), "{who} does not want {place}");
        if is_visible && is_wanted(client, entry) {
            assert!(seen.contains(&place), "{who} in {room_id} misses {place}: {}", json!(seen));
        } else if seen.contains(&place) {
            assert!(entry.is_state, "{who} in {room_id} sees {place}: {}", entry.event_id);
        }
    }
}

/// Client-Server API, "Room history visibility", over a log without forks.
fn visible(log: &[Entry], who: &str) -> Vec<bool> {
    let is_own_join = |entry: &Entry| {
        entry.member.as_ref().is_some_and(|(user, membership)| user == who && membership == "join")
    };
    let last_join = log.iter().rposition(is_own_join);
    let (mut membership, mut visibility) = (String::new(), "shared".to_owned());
    let mut visible = Vec::new();
    for (place, entry) in log.iter().enumerate() {
        let before = (membership.clone(), visibility.clone());
        if let Some((user, now)) = &entry.member
            && user == who
        {
            membership.clone_from(now);
        }
        if let Some(now) = &entry.visibility {
            visibility.clone_from(now);
        }
        let was = |wanted: &str| before.0 == wanted || membership == wanted;
        let applies = |wanted: &str| before.1 == wanted || visibility == wanted;
        let joins_later = last_join.is_some_and(|join| join >= place);
        visible.push(
            was("join")
                || (joins_later && (applies("shared") || (applies("invited") && was("invite")))),
        );
    }
    visible
}
