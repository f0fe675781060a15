// matrix-js-sdk with /sync and the Matrix Rust SDK with sliding sync and its event cache follow the
// same busy rooms, across a restart of the server, and end with the same rooms.
import assert from "node:assert/strict";
import { test } from "node:test";
import { BusyRoom } from "./busy_rooms.mjs";
import { startServer } from "./harness.mjs";
import {
  assertNoErrors,
  eventsOf,
  makeClient,
  pageToCreation,
  password,
  restartUnder,
  sees,
  start,
} from "./js_client.mjs";
import { followWith } from "./rust_client.mjs";
import { assertContent, startWitness } from "./witness.mjs";

/** Who follows how with the Rust SDK. */
const followers = { carol: "sync_service", dave: "whole_state", erin: "sync" };
/** What the service does not ask for: all members, and what it has never heard of. */
const untold = { sync_service: ["m.room.member", "org.example.seat"], whole_state: [], sync: [] };
const guestNames = ["g0", "g1", "g2", "g3", "g4", "g5"];

/** What every client has to know of an event. */
function known({ event_id, type, sender, state_key, content, unsigned }) {
  const redacted = unsigned?.redacted_because !== undefined;
  return { event_id, type, sender, state_key, content: withoutProfile(content), redacted };
}

function knownToJs(event) {
  const { event_id, type, sender, state_key } = event.event;
  const content = withoutProfile(event.getOriginalContent());
  return { event_id, type, sender, state_key, content, redacted: event.isRedacted() };
}

/** matrix-js-sdk fills in the profile of those who leave, from the event before. */
function withoutProfile({ displayname, avatar_url, ...content }) {
  const isGone = ["leave", "ban"].includes(content.membership);
  return isGone ? content : { ...(displayname && { displayname }), ...content };
}

/** The state by type and key: the event's id and what it says. */
function stateMap(events) {
  const entries = events.map(({ type, state_key, event_id, content }) => [
    JSON.stringify([type, state_key]),
    { event_id, content: withoutProfile(content) },
  ]);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The texts as people read them: the last edit counts. */
function readTexts(events) {
  const texts = new Map();
  for (const { event_id, type, sender, content, unsigned } of events) {
    if (type !== "m.room.message" || unsigned?.redacted_because) continue;
    const { rel_type, event_id: replaced } = content["m.relates_to"] ?? {};
    if (rel_type !== "m.replace") texts.set(event_id, { sender, body: content.body });
    else if (texts.get(replaced)?.sender === sender) {
      texts.get(replaced).body = content["m.new_content"].body;
    }
  }
  return [...texts.values()].map(({ body }) => body);
}

function readTextsOfJs(client, roomId) {
  return eventsOf(client, roomId)
    .filter((e) => e.getType() === "m.room.message" && !e.isRedacted())
    .filter((e) => e.getOriginalContent()["m.relates_to"]?.rel_type !== "m.replace")
    .map((e) => e.getContent().body);
}

function assertSameTimeline(events, truth, name) {
  const ids = (list) => list.map(({ event_id }) => event_id);
  assert.deepEqual(ids(events), ids(truth), name);
  events.forEach((event, i) => assert.deepEqual(event, known(truth[i]), name));
}

async function compareJs(client, room, truth) {
  await pageToCreation(client, room.id);
  assertSameTimeline(eventsOf(client, room.id).map(knownToJs), truth.events, "alice");
  assert.deepEqual(readTextsOfJs(client, room.id), readTexts(truth.events));
  const maps = [...client.getRoom(room.id).currentState.events.values()];
  const state = maps.flatMap((map) => [...map.values()]).map(knownToJs);
  assert.deepEqual(stateMap(state), stateMap(truth.state));
}

async function compareRust(client, room, truth) {
  await client.call("page_back", { room: room.id });
  const events = await client.call("timeline", { room: room.id });
  assertSameTimeline(events.map(known), truth.events, client.name);
  const told = truth.state.filter(({ type }) => !untold[client.how].includes(type));
  const types = [...new Set(told.map(({ type }) => type))];
  const state = await client.call("state", { room: room.id, types });
  assert.deepEqual(stateMap(state), stateMap(told), client.name);
  const members = await client.call("members", { room: room.id });
  const isMember = ({ type }) => type === "m.room.member";
  const present = truth.state.filter(isMember).map((e) => [e.state_key, e.content.membership]);
  assert.deepEqual(members, Object.fromEntries(present), client.name);
}

test("the SDKs follow the same busy rooms and end with the same rooms", async (t) => {
  const server = await startServer();
  t.after(() => server.stop());
  const witness = await startWitness(t, server);
  const names = ["founder", "alice", ...Object.keys(followers), ...guestNames];
  const people = await Promise.all(names.map((name) => server.register(name)));
  const person = Object.fromEntries(names.map((name, i) => [name, people[i]]));
  const guests = guestNames.map((name) => person[name]);
  const rooms = await Promise.all(
    [1, 2, 3].map((i) => BusyRoom.found(server, `Room ${i}`, person.founder, guests)),
  );
  const log = [];
  const alice = await makeClient(server, log, "alice");
  await start(t, alice);
  const rust = await Promise.all(
    Object.entries(followers).map(([name, how]) => followWith(t, witness, name, how, password)),
  );
  for (const { id } of rooms) {
    await alice.joinRoom(id);
    await Promise.all(rust.map((client) => client.call("join", { room: id })));
  }

  const everywhere = (act) => Promise.all(rooms.map(act));
  await everywhere((room) => room.live("one"));
  await restartUnder(server, [alice], log, () => everywhere((room) => room.live("two")));
  await Promise.all(rust.map((client) => client.call("hurry")));
  await everywhere(async (room) => {
    const last = await room.say(person.founder, "the last word");
    await sees(alice, room.id, "the last word");
    await Promise.all(
      rust.map((client) => client.call("wait_event", { room: room.id, event: last })),
    );
    const truth = await room.truth(person.alice);
    await compareJs(alice, room, truth);
    for (const client of rust) await compareRust(client, room, truth);
  });
  assertNoErrors(log);
  assertContent(witness, rust);
});
