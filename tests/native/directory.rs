//! Finding rooms: aliases, and the public list.

use crate::support::Account;
use crate::support::house::House;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

const V3: &str = "/_matrix/client/v3";

fn alias_path(alias: &str) -> String {
    let encoded = utf8_percent_encode(alias, NON_ALPHANUMERIC);
    format!("{V3}/directory/room/{encoded}")
}

fn publish(house: &House, owner: &Account, room_id: &str) {
    let path = format!("{V3}/directory/list/room/{room_id}");
    house.server.put(owner, &path, json!({ "visibility": "public" })).ok();
}

#[test]
fn an_alias_is_made_found_listed_and_taken_away() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let room_id = house.room(&alice, "shared");
    let (alias, body) = ("#caf\u{2615}:example.org", json!({ "room_id": room_id }));
    let path = alias_path(alias);
    house.server.get("", &path).error(404, "M_NOT_FOUND");
    house.server.put(&bob, &path, body.clone()).error(403, "M_FORBIDDEN");
    house.server.put(&alice, &path, body.clone()).ok();
    house.server.put(&alice, &path, body.clone()).error(409, "M_UNKNOWN");
    let found = house.server.get("", &path);
    assert_eq!(found.cost.round_trips.get(), 1);
    assert_eq!(found.ok(), json!({ "room_id": room_id, "servers": ["example.org"] }));
    let aliases = format!("{V3}/rooms/{room_id}/aliases");
    assert_eq!(house.server.get(&alice, &aliases).ok(), json!({ "aliases": [alias] }));
    house.server.get(&bob, &aliases).error(403, "M_FORBIDDEN");
    house.server.delete(&bob, &path, json!({})).error(403, "M_FORBIDDEN");
    house.server.delete(&alice, &path, json!({})).ok();
    house.server.delete(&alice, &path, json!({})).error(404, "M_NOT_FOUND");
    assert!(house.server.rows("SELECT * FROM room_alias_servers").is_empty());
}

#[test]
fn an_alias_is_refused_where_it_cannot_be() {
    let house = House::new();
    let alice = house.account("alice");
    let room_id = house.room(&alice, "shared");
    let put = |alias: &str, room_id: &str| {
        house.server.put(&alice, &alias_path(alias), json!({ "room_id": room_id }))
    };
    put("#a:elsewhere.org", &room_id).error(400, "M_INVALID_PARAM");
    put("#a b:example.org", &room_id).error(400, "M_INVALID_PARAM");
    put("a:example.org", &room_id).error(400, "M_INVALID_PARAM");
    put("#a:example.org", "!unknown:example.org").error(400, "M_UNKNOWN");
}

#[test]
fn a_new_room_is_called_by_its_own_alias_only() {
    let house = House::new();
    let alice = house.account("alice");
    let create = |alias: &str| {
        let content = json!({ "alias": alias });
        let state = json!({ "type": "m.room.canonical_alias", "content": content });
        let options = json!({ "room_alias_name": "own", "initial_state": [state] });
        house.server.post(&alice, &format!("{V3}/createRoom"), options)
    };
    create("#other:example.org").error(400, "M_BAD_ALIAS");
    create("no alias").error(400, "M_INVALID_PARAM");
    let room_id = create("#own:example.org").ok()["room_id"].clone();
    // An empty text says that there is none any more.
    let path = format!("{V3}/rooms/{}/state/m.room.canonical_alias/", room_id.as_str().unwrap());
    house.server.put(&alice, &path, json!({ "alias": "" })).ok();
}

#[test]
fn the_canonical_alias_goes_with_its_alias() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let room_id = house.room(&alice, "shared");
    house.join(&room_id, &bob);
    let (main, other) = ("#main:example.org", "#other:example.org");
    for (owner, alias) in [(&alice, main), (&bob, other)] {
        house.server.put(owner, &alias_path(alias), json!({ "room_id": room_id })).ok();
    }
    let content = json!({ "alias": main, "alt_aliases": [main, other] });
    let event = json!({ "type": "m.room.canonical_alias", "state_key": "", "content": content });
    house.send(&room_id, &alice, event);
    let canonical = || {
        let path = format!("{V3}/rooms/{room_id}/state/m.room.canonical_alias");
        house.server.get(&alice, &path).ok()
    };
    // Bob made it and may delete it, but has not the power to change the room.
    house.server.delete(&bob, &alias_path(other), json!({})).ok();
    assert_eq!(canonical(), content);
    house.server.delete(&bob, &alias_path(main), json!({})).error(403, "M_FORBIDDEN");
    house.server.delete(&alice, &alias_path(main), json!({})).ok();
    assert_eq!(canonical(), json!({ "alt_aliases": [other] }));
}

#[test]
fn a_room_is_listed_by_those_with_the_power_to() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let room_id = house.room(&alice, "shared");
    house.join(&room_id, &bob);
    let path = format!("{V3}/directory/list/room/{room_id}");
    assert_eq!(house.server.get("", &path).ok(), json!({ "visibility": "private" }));
    let public = json!({ "visibility": "public" });
    house.server.put(&bob, &path, public.clone()).error(403, "M_FORBIDDEN");
    house.server.put(&alice, &path, json!({ "visibility": "x" })).error(400, "M_INVALID_PARAM");
    house.server.put(&alice, &path, public.clone()).ok();
    assert_eq!(house.server.get("", &path).ok(), public);
    let unknown = format!("{V3}/directory/list/room/!unknown:example.org");
    house.server.get("", &unknown).error(404, "M_NOT_FOUND");
    house.server.put(&alice, &unknown, public).error(404, "M_NOT_FOUND");
}

#[test]
fn the_public_list_is_searched_and_says_what_a_room_is() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let (first, second) = (house.room(&alice, "world_readable"), house.room(&alice, "shared"));
    house.name(&first, &alice, "Un nom fran\u{e7}ais");
    house.join(&second, &bob);
    let get = || house.server.get("", &format!("{V3}/publicRooms")).ok();
    assert_eq!(get()["chunk"], json!([]));
    publish(&house, &alice, &first);
    publish(&house, &alice, &second);
    let list = get();
    assert_eq!(list["total_room_count_estimate"], 2);
    let named = json!({
        "room_id": first, "name": "Un nom fran\u{e7}ais", "num_joined_members": 1,
        "world_readable": true, "guest_can_join": false,
    });
    assert_eq!(list["chunk"][1], named);
    assert_eq!(list["chunk"][0]["num_joined_members"], 2);
    let search = |filter: Value| {
        let body = json!({ "filter": filter });
        house.server.post(&bob, &format!("{V3}/publicRooms"), body).ok()["chunk"].clone()
    };
    assert_eq!(search(json!({ "generic_search_term": "FRAN\u{e7}AIS" })), json!([named]));
    assert_eq!(search(json!({ "generic_search_term": "nothing" })), json!([]));
    assert_eq!(search(json!({ "room_types": ["m.space"] })), json!([]));
    assert_eq!(search(json!({ "room_types": [null] })).as_array().unwrap().len(), 2);
    let body = json!({});
    house.server.post("", &format!("{V3}/publicRooms"), body).error(401, "M_MISSING_TOKEN");
}

#[test]
fn the_public_list_is_narrowed_to_types_of_rooms() {
    let house = House::new();
    let alice = house.account("alice");
    let create = |room_type: Option<&str>| {
        let content = room_type.map_or(json!({}), |room_type| json!({ "type": room_type }));
        let body = json!({ "visibility": "public", "creation_content": content });
        house.server.post(&alice, &format!("{V3}/createRoom"), body).ok()["room_id"].clone()
    };
    let (plain, space, game) = (create(None), create(Some("m.space")), create(Some("org.game")));
    let list = |types: Value| {
        let body = json!({ "filter": { "room_types": types }, "limit": 2 });
        let mut page = house.server.post(&alice, &format!("{V3}/publicRooms"), body.clone()).ok();
        let mut found = std::mem::take(page["chunk"].as_array_mut().unwrap());
        while let Some(since) = page["next_batch"].as_str() {
            let mut body = body.clone();
            body["since"] = json!(since);
            page = house.server.post(&alice, &format!("{V3}/publicRooms"), body).ok();
            found.append(page["chunk"].as_array_mut().unwrap());
        }
        found
    };
    let ids = |types: Value| {
        let mut ids: Vec<Value> = list(types).iter().map(|room| room["room_id"].clone()).collect();
        ids.sort_by_key(Value::to_string);
        ids
    };
    let sorted = |mut rooms: Vec<&Value>| {
        rooms.sort_by_key(|room| room.to_string());
        rooms.into_iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(ids(json!(["m.space"])), std::slice::from_ref(&space));
    assert_eq!(ids(json!([null])), std::slice::from_ref(&plain));
    assert_eq!(ids(json!([null, "m.space"])), sorted(vec![&plain, &space]));
    assert_eq!(ids(json!(["org.other"])), [Value::Null; 0]);
    let all = sorted(vec![&plain, &space, &game]);
    assert_eq!((ids(json!([])), ids(Value::Null)), (all.clone(), all));
    assert_eq!(list(json!(["org.game"]))[0]["room_type"], "org.game");
    assert_eq!(list(json!([null]))[0]["room_type"], Value::Null);
}

#[test]
fn the_public_list_is_paged_on_and_back() {
    let house = House::new();
    let (alice, bob) = (house.account("alice"), house.account("bob"));
    let rooms: Vec<String> = (0..8).map(|_| house.room(&alice, "shared")).collect();
    rooms.iter().for_each(|room_id| publish(&house, &alice, room_id));
    house.join(&rooms[3], &bob);
    let page = |since: &Value| {
        let body = json!({ "limit": 3, "since": since });
        house.server.post(&alice, &format!("{V3}/publicRooms"), body).ok()
    };
    let ids = |page: &Value| {
        let rooms = page["chunk"].as_array().unwrap().iter();
        rooms.map(|room| room["room_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let pages = [page(&Value::Null)];
    let second = page(&pages[0]["next_batch"]);
    let third = page(&second["next_batch"]);
    assert_eq!(pages[0]["prev_batch"], Value::Null);
    assert_eq!(third["next_batch"], Value::Null);
    let mut all = [ids(&pages[0]), ids(&second), ids(&third)].concat();
    assert_eq!(all[0], rooms[3]);
    assert_eq!(all.len(), 8);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 8);
    let back = page(&third["prev_batch"]);
    assert_eq!(ids(&back), ids(&second));
    let start = page(&back["prev_batch"]);
    assert_eq!((ids(&start), &start["prev_batch"]), (ids(&pages[0]), &Value::Null));
    assert_eq!(ids(&page(&start["next_batch"])), ids(&second));
    let body = json!({ "since": "nonsense" });
    house.server.post(&alice, &format!("{V3}/publicRooms"), body).error(400, "M_INVALID_PARAM");
}
