//! What a user does: one thing after the other, each at random.

use myelin::context::Platform;
use serde_json::{Value, json};

use super::world::World;
use crate::support::platform::give_way;
use crate::support::{Account, encode};

/// How much each user does.
const ACTIONS: u64 = 30;

const V3: &str = "/_matrix/client/v3";

/// Acts until the user has done enough.
pub async fn act(world: World, user: Account) {
    for index in 0..ACTIONS {
        for _ in 0..world.random.below(20) {
            give_way().await;
        }
        if world.random.one_in(3) {
            world.platform.sleep(world.random.below(500)).await;
        }
        act_once(&world, &user, index).await;
    }
}

async fn act_once(world: &World, user: &Account, index: u64) {
    let random = &world.random;
    let room = random.pick(&world.rooms);
    let in_room = format!("{V3}/rooms/{room}");
    let other = random.pick(&world.users).user_id.clone();
    match random.below(20) {
        0..7 => send(world, user, room, index).await,
        7..10 => set_state(world, user, room, index).await,
        10..13 => change_membership(world, user, &format!("{in_room}/join"), json!({})).await,
        13 => change_membership(world, user, &format!("{in_room}/leave"), json!({})).await,
        14 => {
            let action = *random.pick(&["invite", "kick", "invite", "ban", "unban"]);
            let body = json!({ "user_id": other });
            change_membership(world, user, &format!("{in_room}/{action}"), body).await;
        }
        15 => redact(world, user, index).await,
        16 => set_receipt(world, user).await,
        17 => {
            let path = format!("{in_room}/typing/{}", user.user_id);
            let body = json!({ "typing": random.one_in(2), "timeout": 1 + random.below(5_000) });
            world.request("PUT", user, &path, &body).await;
        }
        18 => set_account_data(world, user, room, index).await,
        _ => {
            let path = format!("{V3}/profile/{}/displayname", user.user_id);
            let body = json!({ "displayname": format!("name {index}") });
            world.request("PUT", user, &path, &body).await;
        }
    }
}

async fn send(world: &World, user: &Account, room: &str, index: u64) {
    let text = format!("{} {index}", user.user_id);
    let path = format!("{V3}/rooms/{room}/send/m.room.message/{index}");
    let body = json!({ "msgtype": "m.text", "body": text });
    let reply = world.request("PUT", user, &path, &body).await;
    remember(world, room, &reply.body);
}

async fn set_state(world: &World, user: &Account, room: &str, index: u64) {
    let visibility = *world.random.pick(&["shared", "shared", "invited", "joined"]);
    let (event_type, content) = match world.random.below(7) {
        6 => ("m.room.history_visibility", json!({ "history_visibility": visibility })),
        0 => ("m.room.name", json!({ "name": format!("{} {index}", user.user_id) })),
        key => (["a", "b", "c", "d", "e"][key as usize - 1], json!({ "v": index })),
    };
    let path = format!("{V3}/rooms/{room}/state/{event_type}");
    let reply = world.request("PUT", user, &path, &content).await;
    remember(world, room, &reply.body);
}

fn remember(world: &World, room: &str, body: &Value) {
    if let Some(event_id) = body["event_id"].as_str() {
        world.sent.borrow_mut().push((room.to_owned(), event_id.to_owned()));
    }
}

async fn change_membership(world: &World, user: &Account, path: &str, body: Value) {
    world.request("POST", user, path, &body).await;
}

/// An event that somebody was told of, in its room.
fn known_event(world: &World) -> Option<(String, String)> {
    let sent = world.sent.borrow();
    (!sent.is_empty()).then(|| world.random.pick(&sent).clone())
}

async fn redact(world: &World, user: &Account, index: u64) {
    let Some((room, event_id)) = known_event(world) else { return };
    let path = format!("{V3}/rooms/{room}/redact/{}/r{index}", encode(&event_id));
    let reply = world.request("PUT", user, &path, &json!({})).await;
    if let Some(id) = reply.body["event_id"].as_str() {
        world.sent.borrow_mut().push((room, id.to_owned()));
    }
}

async fn set_receipt(world: &World, user: &Account) {
    let Some((room, event_id)) = known_event(world) else { return };
    let kind = *world.random.pick(&["m.read", "m.read.private", "m.fully_read"]);
    let path = format!("{V3}/rooms/{room}/receipt/{kind}/{}", encode(&event_id));
    world.request("POST", user, &path, &json!({})).await;
}

async fn set_account_data(world: &World, user: &Account, room: &str, index: u64) {
    let own = format!("{V3}/user/{}", user.user_id);
    let path = match world.random.below(3) {
        0 => format!("{own}/account_data/global.{}", index % 3),
        1 => format!("{own}/rooms/{room}/account_data/room.{}", index % 3),
        _ => format!("{own}/rooms/{room}/tags/u.{}", index % 3),
    };
    world.request("PUT", user, &path, &json!({ "order": 0.5 })).await;
}
