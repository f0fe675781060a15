// What people do with each other, on three libraries: pictures, edits, reactions, threads, spaces,
// search and notifications. What one of them does is looked at with the libraries of the others.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { PendingEventOrdering } from "matrix-js-sdk";
import { startServer, temporaryFolder } from "./harness.mjs";
import {
  assertNoErrors,
  makeClient,
  pageToCreation,
  password,
  start,
  until,
} from "./js_client.mjs";
import { assertNoComplaints } from "./js_crypto.mjs";
import { startNio } from "./nio_device.mjs";
import { DrivenPerson, JsPerson, everyone } from "./people.mjs";
import { evening, paintHills, readPicture } from "./picture.mjs";
import { gatewayUrl, startGateway } from "./push_gateway.mjs";
import { followWith } from "./rust_client.mjs";
import { followThread, listThreads, talkInThreads } from "./thread_talk.mjs";
import { assertContent, startWitness } from "./witness.mjs";

async function startJs(t, server, log, name) {
  const client = await makeClient(server, log, name);
  const pendingEventOrdering = PendingEventOrdering.Detached;
  await start(t, client, { threadSupport: true, initialSyncLimit: 30, pendingEventOrdering });
  return new JsPerson(t, client);
}

/** A room of everybody in `people`; the first one makes it. */
async function meet(people) {
  const [founder, ...others] = people;
  const create = { name: "By the river", preset: "private_chat" };
  const invite = others.map(({ userId }) => userId);
  const { room_id: room } = await founder.client.createRoom({ ...create, invite });
  for (const person of others) await person.join(room);
  await Promise.all(people.flatMap((one) => people.map((other) => one.knows(room, other.userId))));
  return room;
}

/** Sliding sync tells more of a room that somebody looks at than the last message. */
const opens = ({ client }, room) => client.call("subscribe", { rooms: [room] });

/** Each sends a picture; the others see its thumbnail, with the colours where they belong. */
async function sharePictures(t, people, room) {
  const folder = temporaryFolder();
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const size = { width: 900, height: 600 };
  for (const [number, sender] of people.entries()) {
    const file = path.join(folder, `hills-${number}.png`);
    fs.writeFileSync(file, paintHills(size.width, size.height, evening));
    const event = await sender.sendImage(room, file, "image/png", size);
    const expected = { sender: sender.userId, msgtype: "m.image", body: `hills-${number}.png` };
    await everyone(people, (person) => person.sees(room, event, expected));
    const { url } = people[0].messages(room).find((message) => message.event_id === event);
    for (const person of people) {
      const picture = readPicture(await person.thumbnail(url, { width: 320, height: 240 }));
      assert.deepEqual([picture.width, picture.height], [320, 213], person.name);
      assert.deepEqual(picture.colourAt(0.68, 0.42), evening.sun, person.name);
      assert.deepEqual(picture.colourAt(0.5, 0.99), evening.hills.at(-1), person.name);
    }
  }
}

/** Each corrects what was said. */
async function edit(people, room) {
  for (const [number, author] of people.entries()) {
    const event = await author.say(room, `draft ${number}`);
    const draft = { sender: author.userId, body: `draft ${number}`, edited: false };
    await everyone(people, (person) => person.sees(room, event, draft));
    const content = { msgtype: "m.text", body: `fair copy ${number}` };
    await author.say(room, `* ${content.body}`, {
      "m.new_content": content,
      "m.relates_to": { rel_type: "m.replace", event_id: event },
    });
    const copy = { ...draft, body: content.body, edited: true };
    await everyone(people, (person) => person.sees(room, event, copy));
  }
}

/** All react to one message; one takes the reaction back. */
async function react(people, room) {
  const [alice, bob, dave] = people;
  const event = await alice.say(room, "Who brings the tea?");
  const reactions = {};
  const ids = {};
  for (const [person, key] of [[bob, "👍"], [dave, "👍"], [alice, "☕"]]) {
    const relation = { rel_type: "m.annotation", event_id: event, key };
    await everyone(people, (one) => one.sees(room, event, { reactions }));
    ids[person.name] = await person.send(room, "m.reaction", { "m.relates_to": relation });
    reactions[key] = [...(reactions[key] ?? []), person.userId].sort();
    await everyone(people, (one) => one.sees(room, event, { reactions }));
  }
  await alice.client.redactEvent(room, ids[alice.name]);
  const left = { "👍": reactions["👍"] };
  await everyone(people, (one) => one.sees(room, event, { reactions: left }));
}

/** Whoever is in the room finds the word, and nobody else does. */
async function search(people, stranger, room) {
  const [alice, bob, dave] = people;
  const event = await dave.say(room, "A kingfisher sat on the weir");
  await bob.sees(room, event, { sender: dave.userId });
  const find = ({ client }) => client.searchRoomEvents({ term: "kingfisher" });
  const { count, results, highlights } = await find(alice);
  const ids = results.map(({ context }) => context.getEvent().getId());
  const expected = { count: 1, ids: [event], highlights: ["kingfisher"] };
  assert.deepEqual({ count, ids, highlights }, expected);
  assert.equal((await find(stranger)).count, 0);
}

/** A device that was not there sees the same messages as those that were. */
async function seeOnNewDevices(people, newDevices, room) {
  const fields = ["sender", "msgtype", "body", "edited", "reactions", "thread", "replies"];
  const all = await people[0].messages(room);
  for (const device of [...people, ...newDevices]) {
    for (const message of all) {
      const expected = Object.fromEntries(fields.map((name) => [name, message[name]]));
      await device.sees(room, message.event_id, expected);
    }
    assert.equal((await device.messages(room)).length, all.length, device.name);
  }
}

/** A space with ten rooms, which those who are in the space may join. */
async function makeSpace(alice) {
  const { room_id: space } = await alice.client.createRoom({
    name: "The valley",
    preset: "public_chat",
    creation_content: { type: "m.space" },
  });
  const allow = [{ type: "m.room_membership", room_id: space }];
  const rooms = [];
  for (let number = 1; number <= 10; number += 1) {
    const name = `Meadow ${number}`;
    const rules = { join_rule: "restricted", allow };
    const state = { type: "m.room.join_rules", state_key: "", content: rules };
    const create = { name, preset: "private_chat", initial_state: [state] };
    const { room_id: room } = await alice.client.createRoom(create);
    const child = { via: ["test"], order: String(number).padStart(2, "0") };
    await alice.client.sendStateEvent(space, "m.space.child", child, room);
    rooms.push({ room_id: room, name });
  }
  return { space, rooms };
}

async function joinFromSpace(alice, others) {
  const { space, rooms } = await makeSpace(alice);
  for (const [number, person] of others.entries()) {
    await person.join(space);
    const expected = rooms.map((room) => ({ ...room, joined: number + 1 }));
    assert.deepEqual(await person.spaceRooms(space), expected, person.name);
    for (const { room_id: room } of rooms) await person.join(room);
  }
  const members = [alice, ...others].map(({ userId }) => userId).sort();
  await until("everyone in every room", () =>
    rooms.every(({ room_id: room }) => {
      const joined = alice.client.getRoom(room).getJoinedMembers();
      return joined.length === members.length;
    }),
  );
}

/** Notifications reach two phones, one with the text and one without. */
async function push(people, room, gateway) {
  const [alice, bob, dave] = people;
  await alice.client.setPusher({
    kind: "http",
    app_id: "app.js",
    pushkey: "alices",
    lang: "en",
    app_display_name: "Tests",
    device_display_name: "Phone",
    data: { url: gatewayUrl },
  });
  const pusher = { app_id: "app.rust", pushkey: "bobs", url: gatewayUrl };
  await bob.client.call("set_pusher", pusher);
  const event = await dave.say(room, "I am on my way");
  const told = [await gateway.next(), await gateway.next()];
  const { origin_server_ts: sentAt } = await alice.client.fetchRoomEvent(room, event);
  const byKey = Object.fromEntries(told.map((one) => [one.notification.devices[0].pushkey, one]));
  assert.deepEqual(Object.keys(byKey).sort(), ["alices", "bobs"]);
  for (const { notification, at } of told) {
    assert.equal(notification.event_id, event);
    assert.equal(notification.room_id, room);
    assert.deepEqual(notification.counts, { unread: 1 });
    assert.ok(at - sentAt < 1000, `${at - sentAt} ms`);
  }
  assert.equal(byKey.alices.notification.content.body, "I am on my way");
  assert.equal(byKey.alices.notification.room_name, "By the river");
  assert.equal(byKey.bobs.notification.content, undefined);
}

test("people on three libraries share a room and all that can be done in it", async (t) => {
  const gateway = await startGateway(t);
  const server = await startServer({ args: gateway.serverArgs });
  t.after(() => server.stop());
  const witness = await startWitness(t, server);
  const names = ["alice", "bob", "dave", "erin"];
  await Promise.all(names.map((name) => server.register(name, password)));
  const log = [];
  const alice = await startJs(t, server, log, "alice");
  const bob = new DrivenPerson(t, await followWith(t, witness, "bob", "sync_service", password));
  const dave = new DrivenPerson(t, await startNio(t, witness, "dave", password));
  const erin = await startJs(t, server, log, "erin");
  const people = [alice, bob, dave];
  const room = await meet(people);
  await opens(bob, room);
  let roots;

  await t.test("pictures", () => sharePictures(t, people, room));
  await t.test("edits", () => edit(people, room));
  await t.test("reactions", () => react(people, room));
  await t.test("threads and what is unread in them", async () => {
    roots = await talkInThreads(people, room);
  });
  await t.test("search", () => search(people, erin, room));
  await t.test("a push", () => push(people, room, gateway));
  await t.test("the list of threads", () => listThreads(people, room, roots));
  const alicesNew = await startJs(t, server, log, "alice");
  await pageToCreation(alicesNew.client, room);
  const bobsPhone = await followWith(t, witness, "bob", "sync_service", password);
  const bobsNew = new DrivenPerson(t, bobsPhone);
  await opens(bobsNew, room);
  await bobsNew.client.call("page_back", { room });
  const davesNew = new DrivenPerson(t, await startNio(t, witness, "dave", password));
  const newDevices = [alicesNew, bobsNew, davesNew];
  await t.test("new devices", () => seeOnNewDevices(people, newDevices, room));
  await t.test("following a thread", () => followThread(bob, bobsNew, room, roots, witness));
  await t.test("a space of ten rooms", () => joinFromSpace(alice, [bob, dave, erin]));
  assertNoErrors(log);
  assertNoComplaints();
  assertContent(witness, [bob, dave, bobsNew, davesNew].map(({ client }) => client));
});
