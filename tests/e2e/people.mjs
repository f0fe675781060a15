// People on different libraries, of whom a test asks the same: what they do in a room, and what
// they are shown there.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { isDeepStrictEqual } from "node:util";
import { RoomHierarchy } from "matrix-js-sdk/lib/room-hierarchy.js";
import { temporaryFolder } from "./harness.mjs";
import { seesMembership, until } from "./js_client.mjs";

const pageRooms = 4;

export const everyone = (people, act) => Promise.all(people.map(act));

class Person {
  constructor(t, client, name) {
    this.client = client;
    this.name = name;
    this.folder = temporaryFolder();
    t.after(() => fs.rmSync(this.folder, { recursive: true }));
  }

  async say(room, body, more = {}) {
    return this.send(room, "m.room.message", { msgtype: "m.text", body, ...more });
  }

  /** Waits until this person sees the event so; fields that are not expected may be anything. */
  sees(room, event, expected) {
    const seen = async () => (await this.messages(room)).find((one) => one.event_id === event);
    return this.#comesTo(expected, seen);
  }

  counts(room, expected) {
    return this.#comesTo(expected, () => this.unread(room));
  }

  async #comesTo(expected, look) {
    let shown;
    const isReached = async () => {
      const all = (await look()) ?? {};
      shown = Object.fromEntries(Object.keys(expected).map((name) => [name, all[name]]));
      return isDeepStrictEqual(shown, expected);
    };
    await until(this.name, isReached).catch(() => assert.deepEqual(shown, expected, this.name));
  }
}

/** On matrix-js-sdk, with threads. */
export class JsPerson extends Person {
  constructor(t, client) {
    super(t, client, `${client.getUserId()} (js)`);
    this.userId = client.getUserId();
  }

  async join(room) {
    await this.client.joinRoom(room);
    await seesMembership(this.client, room, this.userId, "join");
  }

  knows(room, userId) {
    return seesMembership(this.client, room, userId, "join");
  }

  async send(room, type, content) {
    return (await this.client.sendEvent(room, type, content)).event_id;
  }

  async sendImage(room, file, mimetype, { width: w, height: h }) {
    const [data, body] = [fs.readFileSync(file), path.basename(file)];
    const { content_uri: url } = await this.client.uploadContent(data, { type: mimetype });
    const info = { mimetype, size: data.length, w, h };
    return this.send(room, "m.room.message", { msgtype: "m.image", body, url, info });
  }

  async thumbnail(mxc, { width, height }) {
    const url = this.client.mxcUrlToHttp(mxc, width, height, "scale", false, true, true);
    const headers = { authorization: `Bearer ${this.client.getAccessToken()}` };
    return Buffer.from(await (await fetch(url, { headers })).arrayBuffer());
  }

  messages(roomId) {
    const room = this.client.getRoom(roomId);
    const replies = room.getThreads().flatMap((thread) => thread.events);
    // The root of a thread is in the room and in the thread.
    return [...new Set([...room.getLiveTimeline().getEvents(), ...replies])]
      .filter((event) => event.getType() === "m.room.message" && !event.isRelation("m.replace"))
      .map((event) => shown(room, event));
  }

  /** The threads in the order of the server. */
  async threads(roomId) {
    const room = this.client.getRoom(roomId);
    await room.createThreadsTimelineSets();
    await room.fetchRoomThreads();
    const roots = room.threadsTimelineSets[0].getLiveTimeline().getEvents().reverse();
    return roots.map((event) => {
      const thread = room.getThread(event.getId());
      return { root: thread.id, latest: thread.replyToEvent.getId(), replies: thread.length };
    });
  }

  /** The counts of the room without its threads, and those of each thread. */
  unread(roomId) {
    const room = this.client.getRoom(roomId);
    const threads = room.getThreads().map(({ id }) => [
      id,
      {
        notifications: room.getThreadUnreadNotificationCount(id, "total"),
        highlights: room.getThreadUnreadNotificationCount(id, "highlight"),
      },
    ]);
    return {
      notifications: room.getRoomUnreadNotificationCount("total"),
      highlights: room.getRoomUnreadNotificationCount("highlight"),
      threads: Object.fromEntries(threads),
    };
  }

  read(roomId, event) {
    return this.client.sendReadReceipt(this.client.getRoom(roomId).findEventById(event));
  }

  async spaceRooms(space) {
    const hierarchy = new RoomHierarchy(this.client.getRoom(space), pageRooms);
    while (hierarchy.canLoadMore) await hierarchy.load();
    return hierarchy.rooms
      .filter(({ room_id }) => room_id !== space)
      .map(({ room_id, name, num_joined_members: joined }) => ({ room_id, name, joined }));
  }
}

/** What the library knows of a message. */
function shown(room, event) {
  const id = event.getId();
  const found = room.relations.getChildEventsForEvent(id, "m.annotation", "m.reaction");
  const byKey = (found?.getSortedAnnotationsByKey() ?? [])
    .filter(([, events]) => events.size > 0)
    .map(([key, events]) => [key, [...events].map((one) => one.getSender()).sort()]);
  // How many replies there are is not known before it has asked for them.
  const thread = room.getThread(id);
  const replies = thread?.initialEventsFetched ? thread.length : 0;
  const { msgtype, body, url } = event.getContent();
  return {
    event_id: id,
    sender: event.getSender(),
    msgtype,
    body,
    url,
    edited: event.replacingEvent() !== null,
    reactions: Object.fromEntries(byKey),
    thread: id === event.threadRootId ? null : (event.threadRootId ?? null),
    replies,
  };
}

/** On a library of another language, in a process of its own. */
export class DrivenPerson extends Person {
  constructor(t, client) {
    super(t, client, client.name);
    this.userId = client.userId;
  }

  async join(room) {
    await this.client.call("join", { room });
    await this.knows(room, this.userId);
  }

  knows(room, user) {
    return this.client.call("wait_member", { room, user });
  }

  async send(room, type, content) {
    return (await this.client.call("send", { room, type, content })).event_id;
  }

  async sendImage(room, file, mimetype, size) {
    return (await this.client.call("send_image", { room, file, mimetype, size })).event_id;
  }

  async thumbnail(url, size) {
    const file = path.join(this.folder, "thumbnail");
    await this.client.call("save_thumbnail", { url, size, file });
    return fs.readFileSync(file);
  }

  async messages(room) {
    const messages = await this.client.call("messages", { room });
    const sorted = (users) => [...users].sort();
    return messages.map(({ reactions, ...message }) => ({
      ...message,
      reactions: Object.fromEntries(
        Object.entries(reactions).map(([key, users]) => [key, sorted(users)]),
      ),
    }));
  }

  threads(room) {
    return this.client.call("threads", { room });
  }

  unread(room) {
    return this.client.call("unread", { room });
  }

  read(room, event, thread = "main") {
    return this.client.call("read", { room, event, thread });
  }

  async spaceRooms(space) {
    const rooms = await this.client.call("space_rooms", { space });
    return rooms.map(({ room_id, name, joined }) => ({ room_id, name, joined }));
  }
}
