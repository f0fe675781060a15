//! Who finds whom in the user directory, and what keeping it up to date costs.

use crate::support::house::House;
use crate::support::{Account, PASSWORD, Server};
use myelin::durable::MembershipAction;
use myelin::storage::database::Statement;
use serde_json::{Value, json};

const V3: &str = "/_matrix/client/v3";
const SEARCH: &str = "/_matrix/client/v3/user_directory/search";

fn find(server: &Server, searcher: &Account, term: &str) -> Vec<String> {
    ids(&server.post(searcher, SEARCH, json!({ "search_term": term })).ok())
}

fn ids(answer: &Value) -> Vec<String> {
    let results = answer["results"].as_array().unwrap().iter();
    results.map(|user| user["user_id"].as_str().unwrap().to_owned()).collect()
}

fn create_room(server: &Server, creator: &Account, body: Value) -> String {
    let room = server.post(creator, &format!("{V3}/createRoom"), body).ok();
    room["room_id"].as_str().unwrap().to_owned()
}

fn public_room(server: &Server, creator: &Account) -> String {
    create_room(server, creator, json!({ "preset": "public_chat" }))
}

fn join(server: &Server, account: &Account, room_id: &str) {
    server.post(account, &format!("{V3}/join/{room_id}"), json!({})).ok();
}

fn leave(server: &Server, account: &Account, room_id: &str) {
    server.post(account, &format!("{V3}/rooms/{room_id}/leave"), json!({})).ok();
}

/// A room of two that nobody else may enter.
fn private_room(server: &Server, creator: &Account, other: &Account) -> String {
    let room = json!({ "preset": "private_chat", "invite": [other.user_id] });
    let room_id = create_room(server, creator, room);
    join(server, other, &room_id);
    room_id
}

fn set_state(server: &Server, account: &Account, room_id: &str, event_type: &str, content: Value) {
    server.put(account, &format!("{V3}/rooms/{room_id}/state/{event_type}"), content).ok();
}

fn set_name(server: &Server, account: &Account, name: &str) {
    let path = format!("{V3}/profile/{}/displayname", account.user_id);
    server.put(account, &path, json!({ "displayname": name })).ok();
}

fn execute(server: &Server, sql: &'static str, value: &str) {
    server.platform.sqlite.batch(&[Statement::new(sql).bind(value)]).unwrap();
}

fn sweep(server: &Server) {
    let context = server.platform.context();
    server.run(async move { myelin::sweep::run(&context).await });
}

#[test]
fn people_in_public_rooms_are_found_as_long_as_they_are_there() {
    let server = Server::new();
    let [alice, bob, eve] = ["alice", "bob", "eve"].map(|name| server.register(name));
    assert!(find(&server, &eve, "bob").is_empty());
    let room_id = public_room(&server, &alice);
    assert!(find(&server, &eve, "bob").is_empty(), "bob is in no room");
    join(&server, &bob, &room_id);
    assert_eq!(find(&server, &eve, "bob"), [bob.user_id.as_str()]);
    assert_eq!(find(&server, &bob, "bob"), [bob.user_id.as_str()], "as in Synapse");
    leave(&server, &bob, &room_id);
    assert!(find(&server, &eve, "bob").is_empty());
    assert!(find(&server, &bob, "bob").is_empty());
    assert_eq!(find(&server, &bob, "ali"), [alice.user_id.as_str()]);
}

#[test]
fn people_in_private_rooms_are_found_by_those_who_share_one() {
    let server = Server::new();
    let [alice, bob, eve] = ["alice", "bob", "eve"].map(|name| server.register(name));
    let rooms = [0, 1].map(|_| private_room(&server, &alice, &bob));
    assert_eq!(find(&server, &bob, "alice"), [alice.user_id.as_str()]);
    assert_eq!(find(&server, &alice, "bob"), [bob.user_id.as_str()]);
    assert!(find(&server, &eve, "alice").is_empty());
    assert!(find(&server, &alice, "alice").is_empty(), "nobody shares a room with themselves");
    leave(&server, &bob, &rooms[0]);
    assert_eq!(find(&server, &bob, "alice"), [alice.user_id.as_str()]);
    leave(&server, &bob, &rooms[1]);
    assert!(find(&server, &bob, "alice").is_empty());
    assert!(server.rows("SELECT * FROM users_in_public_rooms").is_empty());
}

#[test]
fn a_room_is_public_by_its_join_rule_or_its_history() {
    let server = Server::new();
    let [alice, bob, eve] = ["alice", "bob", "eve"].map(|name| server.register(name));
    let room_id = private_room(&server, &alice, &bob);
    let rule = |rule: &str| {
        set_state(&server, &alice, &room_id, "m.room.join_rules", json!({ "join_rule": rule }));
    };
    let history = |visibility: &str| {
        let content = json!({ "history_visibility": visibility });
        set_state(&server, &alice, &room_id, "m.room.history_visibility", content);
    };
    let is_found = || find(&server, &eve, "bob") == [bob.user_id.as_str()];
    assert!(!is_found());
    rule("public");
    assert!(is_found());
    history("world_readable");
    rule("invite");
    assert!(is_found(), "everyone may look into it");
    history("shared");
    assert!(!is_found());
}

#[test]
fn the_name_of_now_is_found_and_that_of_before_is_not() {
    let server = Server::new();
    let [alice, eve] = ["alice", "eve"].map(|name| server.register(name));
    public_room(&server, &alice);
    set_name(&server, &alice, "Αλίκη Παπαδοπούλου");
    assert_eq!(find(&server, &eve, "παπα αλί"), [alice.user_id.as_str()]);
    set_name(&server, &alice, "山田太郎");
    assert_eq!(find(&server, &eve, "太郎"), [alice.user_id.as_str()]);
    assert!(find(&server, &eve, "παπα").is_empty());
    let avatar = format!("{V3}/profile/{}/avatar_url", alice.user_id);
    server.put(&alice, &avatar, json!({ "avatar_url": "mxc://a/b" })).ok();
    let answer = server.post(&eve, SEARCH, json!({ "search_term": "@alice:example.org" })).ok();
    let expected = json!({ "limited": false, "results": [{
        "user_id": alice.user_id, "display_name": "山田太郎", "avatar_url": "mxc://a/b",
    }] });
    assert_eq!(answer, expected);
}

#[test]
fn the_best_match_comes_first_and_the_list_says_when_it_was_cut() {
    let server = Server::new();
    let names = ["ann", "annabel", "joanna", "x1", "x2"];
    let [ann, annabel, joanna, first, second] = names.map(|name| server.register(name));
    let room_id = public_room(&server, &joanna);
    for account in [&ann, &annabel, &first, &second] {
        join(&server, account, &room_id);
    }
    set_name(&server, &first, "Ann Smith");
    set_name(&server, &second, "Annette of the very long name");
    let expected = [&ann, &first, &annabel, &second].map(|account| account.user_id.clone());
    assert_eq!(find(&server, &joanna, "ann"), expected);
    let search = |body: Value| server.post(&joanna, SEARCH, body);
    let two = search(json!({ "search_term": "ann", "limit": 2 })).ok();
    assert_eq!((ids(&two), &two["limited"]), (expected[..2].to_vec(), &json!(true)));
    let none = search(json!({ "search_term": "  " })).ok();
    assert_eq!(none, json!({ "results": [], "limited": false }));
    search(json!({})).error(400, "M_MISSING_PARAM");
    search(json!({ "search_term": 1 })).error(400, "M_BAD_JSON");
    search(json!({ "search_term": "ann", "limit": -1 })).error(400, "M_BAD_JSON");
    server.post("", SEARCH, json!({ "search_term": "ann" })).error(401, "M_MISSING_TOKEN");
    execute(&server, "UPDATE users SET is_guest = 1 WHERE name = ?1", &joanna.user_id);
    search(json!({ "search_term": "ann" })).error(403, "M_GUEST_ACCESS_FORBIDDEN");
}

#[test]
fn who_is_not_to_be_contacted_is_not_found() {
    let server = Server::new();
    let names = ["alice", "support", "locked", "gone", "bridge"];
    let [alice, support, locked, gone, bridge] = names.map(|name| server.register(name));
    execute(&server, "UPDATE users SET user_type = 'support' WHERE name = ?1", &support.user_id);
    execute(&server, "UPDATE users SET appservice_id = 'irc' WHERE name = ?1", &bridge.user_id);
    let room_id = public_room(&server, &alice);
    for account in [&support, &locked, &gone, &bridge] {
        join(&server, account, &room_id);
    }
    for name in ["locked", "gone"] {
        assert_eq!(find(&server, &alice, name).len(), 1, "{name}");
    }
    execute(&server, "UPDATE users SET locked = 1 WHERE name = ?1", &locked.user_id);
    let auth = json!({
        "type": "m.login.password", "password": PASSWORD,
        "identifier": { "type": "m.id.user", "user": "gone" },
    });
    server.post(&gone, &format!("{V3}/account/deactivate"), json!({ "auth": auth })).ok();
    for name in ["support", "locked", "gone", "bridge"] {
        assert!(find(&server, &alice, name).is_empty(), "{name}");
    }
    let left = server.rows(
        "SELECT user_id FROM user_directory WHERE user_id = '@gone:example.org'
         UNION SELECT word FROM myelin_user_directory_words WHERE user_id = '@gone:example.org'
         UNION SELECT room_id FROM users_in_public_rooms WHERE user_id = '@gone:example.org'",
    );
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_server_may_show_all_its_users_to_each_other() {
    let server = Server::with(&[("USER_DIRECTORY_SEARCH_ALL_USERS", "on")]);
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    assert_eq!(find(&server, &alice, "bob"), [bob.user_id.as_str()]);
    assert!(find(&server, &bob, "bob").is_empty(), "as in Synapse");
}

#[test]
fn a_search_is_one_round_trip_and_writes_nothing_unless_the_log_has_moved() {
    let server = Server::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    let room_id = public_room(&server, &alice);
    sweep(&server);
    let search = |searcher: &Account| {
        let reply = server.post(searcher, SEARCH, json!({ "search_term": "alice" }));
        let cost = (reply.cost.round_trips.get(), reply.cost.rows_written.get());
        assert_eq!(ids(&reply.ok()), [alice.user_id.as_str()]);
        cost
    };
    assert_eq!(search(&bob), (1, 0));
    let body = json!({ "msgtype": "m.text", "body": "hello" });
    server.put(&alice, &format!("{V3}/rooms/{room_id}/send/m.room.message/1"), body).ok();
    assert_eq!(search(&bob), (1, 0), "a message is nothing to the directory");
    join(&server, &bob, &room_id);
    assert_eq!(search(&alice), (2, 2), "the row of bob in the room, and the position");
    assert_eq!(search(&alice), (1, 0));
}

#[test]
fn members_of_private_rooms_cost_no_rows_and_those_of_public_ones_one_each() {
    let house = House::new();
    let server = &house.server;
    let accounts: Vec<Account> = (0..20).map(|i| server.register(&format!("user{i}"))).collect();
    let room = house.room(&accounts[0], "shared");
    accounts[1..].iter().for_each(|account| house.join(&room, account));
    sweep(server);
    let rows = || server.rows("SELECT * FROM users_in_public_rooms").len();
    assert_eq!(rows(), 20);
    let content = json!({ "join_rule": "invite" });
    let event = json!({ "type": "m.room.join_rules", "state_key": "", "content": content });
    house.send(&room, &accounts[0], event);
    sweep(server);
    assert_eq!(rows(), 0);
    assert!(server.rows("SELECT * FROM users_who_share_private_rooms").is_empty());
    assert_eq!(find(server, &accounts[3], "user7"), [accounts[7].user_id.as_str()]);
}

/// Members whom nobody has to register.
fn add_members(server: &Server, room_id: &str, count: usize) {
    let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
               INSERT INTO current_state_events
                   (event_id, room_id, type, state_key, membership, event_stream_ordering)
               SELECT '$m' || i, ?1, 'm.room.member', '@m' || i || ':remote.test', 'join', 1
               FROM n";
    let statement = Statement::new(sql).bind(room_id).bind(count);
    server.platform.sqlite.batch(&[statement]).unwrap();
}

#[test]
fn a_large_room_that_becomes_public_is_followed_in_bounded_steps() {
    let house = House::new();
    let alice = house.account("alice");
    let room_id = house.room(&alice, "shared");
    add_members(&house.server, &room_id, 1_200);
    sweep(&house.server);
    let count = "SELECT count(*) AS n FROM users_in_public_rooms";
    assert_eq!(house.server.rows(count), [json!({ "n": 1_201 })]);
    house.leave(&room_id, &alice);
    sweep(&house.server);
    assert_eq!(house.server.rows(count), [json!({ "n": 0 })], "nobody of ours is in it");
    let position = house.server.rows(
        "SELECT p.stream_id = s.stream_id AS is_at_end FROM user_directory_stream_pos p
         JOIN stream_positions s ON s.stream_name = 'events'",
    );
    assert_eq!(position, [json!({ "is_at_end": 1 })]);
}

#[test]
fn an_empty_directory_is_made_again_from_the_log() {
    let house = House::new();
    let server = &house.server;
    let accounts: Vec<Account> = (0..5).map(|i| server.register(&format!("user{i}"))).collect();
    for creator in &accounts {
        let room = house.room(creator, "shared");
        for other in accounts.iter().filter(|other| other.user_id != creator.user_id) {
            house.join(&room, other);
            house.membership(MembershipAction::Leave, &room, other, other);
        }
    }
    sweep(server);
    let all = || {
        let of = |sql: &'static str| server.rows(sql);
        [
            of("SELECT * FROM user_directory ORDER BY user_id"),
            of("SELECT * FROM users_in_public_rooms ORDER BY user_id, room_id"),
            of("SELECT * FROM myelin_user_directory_words ORDER BY user_id, word"),
        ]
    };
    let before = all();
    for sql in [
        "DELETE FROM user_directory WHERE ?1 = ''",
        "DELETE FROM users_in_public_rooms WHERE ?1 = ''",
        "DELETE FROM myelin_user_directory_words WHERE ?1 = ''",
        "UPDATE user_directory_stream_pos SET stream_id = 1 WHERE ?1 = ''",
    ] {
        execute(server, sql, "");
    }
    assert_eq!(find(server, &accounts[0], "user4"), [accounts[4].user_id.as_str()]);
    assert_eq!(all(), before);
    assert_eq!(before[1].len(), 5);
}

#[test]
fn a_position_ahead_of_the_log_is_brought_back() {
    let server = Server::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    execute(&server, "UPDATE user_directory_stream_pos SET stream_id = 999 WHERE ?1 = ''", "");
    sweep(&server);
    public_room(&server, &alice);
    assert_eq!(find(&server, &bob, "alice"), [alice.user_id.as_str()]);
}
