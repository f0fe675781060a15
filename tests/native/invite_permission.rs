//! Whoever does not want to be invited is not. Client-Server API, "Invite permission".

use crate::support::{Account, Server};
use serde_json::{Value, json};

const V3: &str = "/_matrix/client/v3";
const SLIDING_SYNC: &str = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";

fn configure(server: &Server, account: &Account, config: Value) {
    let path = format!("{V3}/user/{}/account_data/m.invite_permission_config", account.user_id);
    server.put(account, &path, config).ok();
}

fn room(server: &Server, owner: &Account, options: Value) -> String {
    let created = server.post(owner, &format!("{V3}/createRoom"), options).ok();
    created["room_id"].as_str().unwrap().to_owned()
}

fn slide(server: &Server, account: &Account) -> Value {
    let list = json!({ "ranges": [[0, 9]], "timeline_limit": 1, "required_state": [] });
    server.post(account, SLIDING_SYNC, json!({ "lists": { "a": list } })).ok()
}

#[test]
fn who_takes_no_invitations_is_not_invited_in_any_way() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = room(&server, &alice, json!({}));
    configure(&server, &bob, json!({ "default_action": "block" }));
    let invitation = json!({ "user_id": bob.user_id });
    let invite = format!("{V3}/rooms/{room_id}/invite");
    server.post(&alice, &invite, invitation.clone()).error(403, "M_INVITE_BLOCKED");
    let member = format!("{V3}/rooms/{room_id}/state/m.room.member/{}", bob.user_id);
    let content = json!({ "membership": "invite" });
    server.put(&alice, &member, content).error(403, "M_INVITE_BLOCKED");
    let rooms = server.rows("SELECT room_id FROM rooms").len();
    let options = json!({ "invite": [bob.user_id] });
    let create = format!("{V3}/createRoom");
    server.post(&alice, &create, options).error(403, "M_INVITE_BLOCKED");
    assert_eq!(server.rows("SELECT room_id FROM rooms").len(), rooms, "nothing is half made");
    // Other memberships are nobody's invitation.
    server.post(&alice, &format!("{V3}/rooms/{room_id}/ban"), invitation.clone()).ok();
    server.post(&alice, &format!("{V3}/rooms/{room_id}/unban"), invitation.clone()).ok();
    for config in [json!({}), json!({ "default_action": "allow" }), json!({ "default_action": 1 })]
    {
        configure(&server, &bob, json!({ "default_action": "block" }));
        configure(&server, &bob, config);
        server.post(&alice, &invite, invitation.clone()).ok();
    }
}

#[test]
fn earlier_invitations_are_out_of_sight_while_none_are_taken() {
    let server = Server::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room_id = room(&server, &alice, json!({ "invite": [bob.user_id] }));
    let sync = |query: &str| server.get(&bob, &format!("{V3}/sync{query}")).ok();
    let invited = |sync: &Value| sync["rooms"]["invite"][&room_id].is_object();
    assert!(invited(&sync("")));
    assert!(slide(&server, &bob)["rooms"][&room_id].is_object());
    configure(&server, &bob, json!({ "default_action": "block" }));
    let blocked = sync("");
    assert!(!invited(&blocked));
    assert_eq!(slide(&server, &bob)["rooms"], json!({}));
    let initial = server.get(&bob, &format!("{V3}/initialSync")).ok();
    assert_eq!(initial["rooms"], json!([]));
    // They are still invited, and told so when they want to be.
    configure(&server, &bob, json!({}));
    assert!(invited(&sync(&format!("?since={}", blocked["next_batch"].as_str().unwrap()))));
    assert!(slide(&server, &bob)["rooms"][&room_id].is_object());
    server.join(&bob, &room_id);
}
