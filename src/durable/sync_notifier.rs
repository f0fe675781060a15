//! SyncNotifier: who waits for what. It knows the members of rooms, never what was written.
//!
//! Invariant: an announcement that is heard wakes every waiter whom it concerns, or its sender
//! is asked for the members. What is remembered here is a cache: an object that was evicted
//! asks once more. A waiter registers FIRST and reads the log AFTER.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ruma::{DeviceId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Announcement, News};

/// Rooms whose members one notifier remembers: past it, all are forgotten and asked for anew.
const ROOMS_MAX: usize = 10_000;

/// Members that one notifier remembers, over all rooms: about 100 bytes each.
const MEMBERS_MAX: usize = 200_000;

/// Requests of one device that wait at once. A client waits with one or a few; what is older is
/// what it has left behind. The oldest are closed, and look once more before they answer.
const SOCKETS_OF_A_DEVICE_MAX: usize = 10;

/// Requests of one user that wait at once, on all devices.
const SOCKETS_OF_A_USER_MAX: usize = 200;

/// What came of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Announced {
    /// Whoever waits has been woken.
    Told,
    /// A notifier does not know this version of the room's members: announce it with them.
    MembersNeeded,
}

/// The members of a room as of a version.
struct Members {
    version: i64,
    users: HashSet<OwnedUserId>,
}

/// Whom an announcement concerns: users, and whoever looks into the room from outside. A waiter
/// waits under its user id, and under a room id if it looks into a room.
pub struct Concerned<'a> {
    room_id: Option<OwnedRoomId>,
    members: Option<&'a HashSet<OwnedUserId>>,
    others: Vec<OwnedUserId>,
    only_messages: bool,
}

impl Concerned<'_> {
    /// What to tell them: see [`News::to_text`].
    pub fn news(&self) -> &str {
        News::to_text(self.room_id.as_deref().filter(|_| self.only_messages))
    }

    /// Whether somebody who waits under this user or room id is to be woken.
    pub fn contains(&self, id: &str) -> bool {
        let is_member = |members: &HashSet<OwnedUserId>| {
            <&UserId>::try_from(id).is_ok_and(|user_id| members.contains(user_id))
        };
        self.members.is_some_and(is_member)
            || self.others.iter().any(|other| other == id)
            || self.room_id.as_ref().is_some_and(|room_id| room_id == id)
    }

    /// How many ids they are, at most.
    pub fn len(&self) -> usize {
        self.members.map_or(0, HashSet::len) + self.others.len() + self.room_id.iter().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let users = self.members.into_iter().flatten().chain(&self.others);
        users.map(|user_id| user_id.as_str()).chain(self.room_id.as_deref().map(RoomId::as_str))
    }
}

/// What one notifier remembers.
#[derive(Default)]
pub struct Notifier {
    rooms: HashMap<OwnedRoomId, Members>,
    members_count: usize,
}

impl Notifier {
    /// Hears an announcement: whom to wake, and whether its sender has to name the members.
    pub fn hear(&mut self, announcement: Announcement) -> (Concerned<'_>, Announced) {
        match announcement {
            Announcement::Users(others) => {
                let concerned =
                    Concerned { room_id: None, members: None, others, only_messages: false };
                (concerned, Announced::Told)
            }
            Announcement::Room {
                room_id, members_version, members, also, only_messages, ..
            } => {
                if let Some(members) = members {
                    self.learn(room_id.clone(), members_version, members);
                }
                // Versions rise: a newer one that is known serves a late announcement too.
                let known = self.rooms.get(&room_id);
                let known = known.filter(|members| members.version >= members_version);
                let announced = match known {
                    Some(_) => Announced::Told,
                    None => Announced::MembersNeeded,
                };
                let members = known.map(|members| &members.users);
                let room_id = Some(room_id);
                (Concerned { room_id, members, others: also, only_messages }, announced)
            }
        }
    }

    fn learn(&mut self, room_id: OwnedRoomId, version: i64, members: Vec<OwnedUserId>) {
        let known_count = self.rooms.get(&room_id).map_or(0, |known| known.users.len());
        self.members_count -= known_count;
        let is_full = self.members_count + members.len() > MEMBERS_MAX
            || (known_count == 0 && self.rooms.len() >= ROOMS_MAX);
        if is_full {
            self.rooms.clear();
            self.members_count = 0;
        }
        let users: HashSet<OwnedUserId> = members.into_iter().collect();
        self.members_count += users.len();
        self.rooms.insert(room_id, Members { version, users });
    }
}

/// Where to look for those who wait too many, by tag: no more than so many of each.
pub fn socket_limits<'a>(user_id: &'a str, device_tag: &'a str) -> [(&'a str, usize); 2] {
    [(device_tag, SOCKETS_OF_A_DEVICE_MAX), (user_id, SOCKETS_OF_A_USER_MAX)]
}

/// Which of those who wait since these times are too many: the oldest.
pub fn oldest_beyond(since: &[f64], limit: usize) -> Vec<usize> {
    let mut indexes: Vec<usize> = (0..since.len()).collect();
    indexes.sort_by(|a, b| since[*a].total_cmp(&since[*b]));
    indexes.truncate(since.len().saturating_sub(limit));
    indexes
}

/// What the sockets of a device are found by. Short, unlike the id; and, since clients choose their
/// ids, nothing that another id could be made to have.
pub fn device_tag(user_id: &str, device_id: Option<&DeviceId>) -> String {
    let device_id = device_id.map_or("", DeviceId::as_str);
    let digest = Sha256::digest(format!("{user_id} {device_id}"));
    format!("device {}", URL_SAFE_NO_PAD.encode(&digest[..16]))
}

/// Which of `count` notifiers a user waits at.
pub fn notifier_of(user_id: &str, count: u32) -> u32 {
    let hash = hash_of(user_id);
    u32::try_from(hash % u64::from(count.max(1))).unwrap_or_default()
}

/// FNV-1a: the same in every isolate and every release, unlike the standard library's hasher.
fn hash_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The notifiers at which these users wait. Ends as soon as it has found all of them.
pub fn notifiers_of(users: &[OwnedUserId], count: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for user_id in users {
        let index = notifier_of(user_id.as_str(), count);
        if !found.contains(&index) {
            found.push(index);
        }
        if found.len() as u32 >= count {
            break;
        }
    }
    found
}

/// The part of an announcement for each notifier that it can concern.
pub fn shares(announcement: Announcement, count: u32) -> Vec<(u32, Announcement)> {
    match announcement {
        Announcement::Users(users) => {
            let shares = by_notifier(users, count).into_iter().enumerate();
            let shares = shares.filter(|(_, users)| !users.is_empty());
            shares.map(|(i, users)| (i as u32, Announcement::Users(users))).collect()
        }
        Announcement::Room { room_id, members_version, members, also, only_messages, at } => {
            let mut members = members.map(|members| by_notifier(members, count));
            let also = by_notifier(also, count);
            let shares = also.into_iter().enumerate().filter_map(|(i, also)| {
                let members = members.as_mut().map(|members| std::mem::take(&mut members[i]));
                let room_id = room_id.clone();
                let concerns = at.contains(&(i as u32)) || !also.is_empty();
                let share = Announcement::Room {
                    room_id,
                    members_version,
                    members,
                    also,
                    only_messages,
                    at: Vec::new(),
                };
                concerns.then_some((i as u32, share))
            });
            shares.collect()
        }
    }
}

fn by_notifier(users: Vec<OwnedUserId>, count: u32) -> Vec<Vec<OwnedUserId>> {
    let mut shares = vec![Vec::new(); count.max(1) as usize];
    for user_id in users {
        shares[notifier_of(user_id.as_str(), count) as usize].push(user_id);
    }
    shares
}

#[cfg(test)]
mod tests {
    use ruma::{owned_room_id, owned_user_id};
    use serde_json::json;

    use super::*;

    fn room(version: i64, members: Option<Vec<OwnedUserId>>) -> Announcement {
        Announcement::Room {
            room_id: owned_room_id!("!room:example.org"),
            members_version: version,
            members,
            also: vec![owned_user_id!("@invited:example.org")],
            only_messages: true,
            at: vec![0, 1, 2, 3],
        }
    }

    #[test]
    fn an_unknown_version_wakes_those_named_and_asks_for_the_members() {
        let mut notifier = Notifier::default();
        let (concerned, announced) = notifier.hear(room(3, None));
        assert!(concerned.contains("@invited:example.org"));
        assert!(!concerned.contains("@member:example.org"));
        assert_eq!(announced, Announced::MembersNeeded);
    }

    #[test]
    fn who_looks_into_a_room_is_woken_by_what_happens_there_alone() {
        let mut notifier = Notifier::default();
        for members in [None, Some(Vec::new())] {
            let (concerned, _) = notifier.hear(room(3, members));
            assert!(concerned.contains("!room:example.org"));
            assert!(!concerned.contains("!other:example.org"));
        }
        let users = vec![owned_user_id!("@member:example.org")];
        assert!(!notifier.hear(Announcement::Users(users)).0.contains("!room:example.org"));
    }

    #[test]
    fn who_is_woken_is_told_of_messages_by_their_room() {
        let mut notifier = Notifier::default();
        assert_eq!(notifier.hear(room(3, None)).0.news(), "!room:example.org");
        let mut other = room(3, None);
        if let Announcement::Room { only_messages, .. } = &mut other {
            *only_messages = false;
        }
        assert_eq!(notifier.hear(other).0.news(), "*");
        let users = Announcement::Users(vec![owned_user_id!("@member:example.org")]);
        assert_eq!(notifier.hear(users).0.news(), "*");
    }

    #[test]
    fn news_of_messages_add_up_until_there_is_other_news() {
        let mut news = News::none();
        for text in ["!a:example.org", "!b:example.org", "!a:example.org"] {
            news.add_text(text);
        }
        let rooms = [owned_room_id!("!a:example.org"), owned_room_id!("!b:example.org")];
        assert_eq!(news, News::Messages(rooms.into_iter().collect()));
        news.add_text(News::to_text(None));
        assert_eq!(news, News::Anything);
        news.add_text("!a:example.org");
        assert_eq!(news, News::Anything);
        let mut many = News::none();
        (0..100).for_each(|i| many.add_text(&format!("!{i}:example.org")));
        assert_eq!(many, News::Anything);
    }

    #[test]
    fn a_known_version_wakes_its_members() {
        let mut notifier = Notifier::default();
        let members = vec![owned_user_id!("@member:example.org")];
        assert_eq!(notifier.hear(room(3, Some(members))).1, Announced::Told);
        let (concerned, announced) = notifier.hear(room(3, None));
        assert!(concerned.contains("@member:example.org"));
        assert_eq!(announced, Announced::Told);
        let mut ids: Vec<&str> = concerned.ids().collect();
        ids.sort_unstable();
        assert_eq!(ids, ["!room:example.org", "@invited:example.org", "@member:example.org"]);
        assert_eq!(concerned.len(), 3);
        assert_eq!(notifier.hear(room(2, None)).1, Announced::Told);
        assert_eq!(notifier.hear(room(4, None)).1, Announced::MembersNeeded);
    }

    #[test]
    fn a_notifier_that_is_full_forgets_and_asks_again() {
        let mut notifier = Notifier::default();
        let many = (0..MEMBERS_MAX).map(|i| format!("@u{i}:example.org").try_into().unwrap());
        notifier.hear(room(1, Some(many.collect())));
        let other = Announcement::Room {
            room_id: owned_room_id!("!other:example.org"),
            members_version: 1,
            members: Some(vec![owned_user_id!("@member:example.org")]),
            also: Vec::new(),
            only_messages: false,
            at: Vec::new(),
        };
        assert!(notifier.hear(other).0.contains("@member:example.org"));
        assert_eq!(notifier.hear(room(1, None)).1, Announced::MembersNeeded);
    }

    #[test]
    fn the_oldest_of_too_many_who_wait_are_found() {
        assert_eq!(oldest_beyond(&[3.0, 1.0, 2.0], 3), [0; 0]);
        assert_eq!(oldest_beyond(&[3.0, 1.0, 2.0], 1), [1, 2]);
        assert_eq!(oldest_beyond(&[5.0, 5.0, 5.0], 2), [0]);
        let [one, other] = ["ONE", "OTHER"].map(|id| device_tag("@a:b", Some(id.into())));
        assert_ne!(one, other);
        let [device, user] = socket_limits("@a:b", &one);
        assert_eq!((device.0, user.0), (one.as_str(), "@a:b"));
        assert!(device.1 < user.1);
    }

    #[test]
    fn users_are_spread_over_the_notifiers_and_each_is_told_of_its_own() {
        let users: Vec<OwnedUserId> =
            (0..100).map(|i| format!("@u{i}:example.org").try_into().unwrap()).collect();
        let told = shares(room(1, Some(users.clone())), 4);
        assert_eq!(told.len(), 4);
        for (index, share) in told {
            let Announcement::Room { members: Some(members), .. } = share else {
                panic!("the members are missing")
            };
            assert!(members.len() > 10, "notifier {index} has {} of 100", members.len());
            assert!(members.iter().all(|user| notifier_of(user.as_str(), 4) == index));
        }
        let told = shares(Announcement::Users(users[..1].to_vec()), 4);
        assert_eq!(told.len(), 1);
    }

    #[test]
    fn a_notifier_at_which_nobody_concerned_waits_is_not_told() {
        let members: Vec<OwnedUserId> = vec![owned_user_id!("@member:example.org")];
        let invited = owned_user_id!("@invited:example.org");
        let concerned = [&members[0], &invited].map(|user| notifier_of(user.as_str(), 64));
        assert_ne!(concerned[0], concerned[1]);
        let mut announcement = room(1, None);
        if let Announcement::Room { at, .. } = &mut announcement {
            *at = notifiers_of(&members, 64);
        }
        let told: Vec<u32> = shares(announcement, 64).into_iter().map(|(index, _)| index).collect();
        assert_eq!(HashSet::from_iter(told), HashSet::from(concerned));
    }

    #[test]
    fn announcements_cross_between_isolates_in_this_shape() {
        let text = serde_json::to_value(room(7, None)).unwrap();
        let shape = json!({"room": {
            "room_id": "!room:example.org",
            "members_version": 7,
            "members": null,
            "also": ["@invited:example.org"],
            "only_messages": true,
        }});
        assert_eq!(text, shape);
        let users = Announcement::Users(vec![owned_user_id!("@a:example.org")]);
        assert_eq!(serde_json::to_value(users).unwrap(), json!({"users": ["@a:example.org"]}));
        assert_eq!(serde_json::to_value(Announced::MembersNeeded).unwrap(), "members_needed");
    }
}
