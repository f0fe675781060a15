// matrix-js-sdk, which Element is built on: two people talk, across a restart of the server.
import assert from "node:assert/strict";
import { test } from "node:test";
import { clearTimeout, setTimeout } from "node:timers";
import * as sdk from "matrix-js-sdk";
import { startServer } from "./harness.mjs";

const { ClientEvent, RoomEvent, RoomMemberEvent, RoomStateEvent } = sdk;
const waitMs = 30_000;
const password = "a long passphrase";

// The library tells at length what it does.
for (const level of ["trace", "debug", "log", "info", "warn", "error"]) console[level] = () => {};
// The library leaves the timer of each request's timeout behind: that must not hold the process.
globalThis.setTimeout = (...args) => setTimeout(...args).unref();

/**
 * What is answered with an error although all is well, as by a default Synapse: the library asks
 * for these to learn that they are not there.
 */
const expectedErrors = new Set([]);

/** A library client that writes every answer into `log`; given a name, it is logged in. */
async function makeClient(server, log, name) {
  const anonymous = { baseUrl: server.url, fetchFn: loggedFetch(log) };
  if (name === undefined) return sdk.createClient(anonymous);
  const { user_id, access_token, device_id } = await sdk.createClient(anonymous).loginRequest({
    type: "m.login.password",
    identifier: { type: "m.id.user", user: name },
    password,
  });
  const session = { userId: user_id, accessToken: access_token, deviceId: device_id };
  return sdk.createClient({ ...anonymous, ...session });
}

function loggedFetch(log) {
  return async (resource, options) => {
    const response = await fetch(resource, options);
    const { pathname, searchParams } = new URL(resource);
    const body = response.ok ? "" : await response.clone().text();
    const method = options?.method ?? "GET";
    log.push({ method, pathname, searchParams, status: response.status, body });
    return response;
  };
}

function assertNoErrors(log) {
  const errors = log
    .filter(({ status, method, pathname }) =>
      status >= 400 && !expectedErrors.has(`${status} ${method} ${pathname}`))
    .map(({ method, pathname, status, body }) => `${method} ${pathname}: ${status} ${body}`);
  assert.deepEqual(errors, []);
}

/** Resolves with the first true value of `look`, which is asked again at each of these events. */
function eventually(client, what, look) {
  const events = [
    ClientEvent.Sync,
    RoomEvent.Timeline,
    RoomEvent.LocalEchoUpdated,
    RoomEvent.Redaction,
    RoomEvent.MyMembership,
    RoomMemberEvent.Membership,
    RoomStateEvent.Events,
  ];
  return new Promise((resolve, reject) => {
    const settle = (then, value) => {
      clearTimeout(timer);
      for (const event of events) client.off(event, check);
      then(value);
    };
    const check = () => {
      const found = look();
      if (found) settle(resolve, found);
    };
    const late = () => settle(reject, new Error(`${client.getUserId()} never saw ${what}`));
    const timer = setTimeout(late, waitMs);
    for (const event of events) client.on(event, check);
    check();
  });
}

async function start(t, client) {
  t.after(() => client.stopClient());
  await client.startClient({ initialSyncLimit: 5 });
  await eventually(client, "its first sync", () => client.isInitialSyncComplete());
}

function textsOf(client, roomId) {
  const events = client.getRoom(roomId)?.getLiveTimeline().getEvents() ?? [];
  return events
    .filter((event) => event.getType() === "m.room.message" && event.status === null)
    .map((event) => event.getContent().body);
}

function sees(client, roomId, body) {
  return eventually(client, `"${body}"`, () => textsOf(client, roomId).includes(body));
}

function seesMembership(client, roomId, userId, membership) {
  const found = () => client.getRoom(roomId)?.getMember(userId)?.membership === membership;
  return eventually(client, `${userId} ${membership}`, found);
}

/** An invitation that is accepted; resolves with the room, in which both have spoken. */
async function meet(alice, bob) {
  const { room_id: roomId } = await alice.createRoom({
    name: "The wild wood",
    invite: [bob.getUserId()],
    preset: "private_chat",
  });
  for (let i = 1; i <= 12; i += 1) await alice.sendTextMessage(roomId, `alone ${i}`);
  await seesMembership(bob, roomId, bob.getUserId(), "invite");
  assert.equal(bob.getRoom(roomId).name, "The wild wood");
  await bob.joinRoom(roomId);
  await seesMembership(alice, roomId, bob.getUserId(), "join");
  await alice.sendTextMessage(roomId, "Good evening");
  await sees(bob, roomId, "Good evening");
  await bob.sendTextMessage(roomId, "And to you");
  await sees(alice, roomId, "And to you");
  return roomId;
}

/** Pages back to the creation of the room: nothing twice, nothing missing. */
async function pageBack(client, roomId, expected) {
  const room = client.getRoom(roomId);
  const first = () => room.getLiveTimeline().getEvents()[0];
  for (let page = 0; first().getType() !== "m.room.create"; page += 1) {
    assert.ok(page < 20, "the creation of the room is never reached");
    await client.scrollback(room, 7);
  }
  assert.deepEqual(textsOf(client, roomId), expected);
  const ids = room.getLiveTimeline().getEvents().map((event) => event.getId());
  assert.equal(new Set(ids).size, ids.length);
}

async function redact(alice, bob, roomId, text) {
  const isText = (event) => event.getContent().body === text;
  const event = bob.getRoom(roomId).getLiveTimeline().getEvents().find(isText);
  await alice.redactEvent(roomId, event.getId(), undefined, { reason: "a slip" });
  await eventually(bob, "the redaction", () => event.isRedacted());
  assert.equal(event.getContent().body, undefined);
  const fetched = await bob.fetchRoomEvent(roomId, event.getId());
  assert.deepEqual(fetched.content, {});
}

/** Restarts the server under running clients; each goes on from the `since` that it had. */
async function restartUnder(server, clients, log) {
  await server.end();
  const answered = log.length;
  const isAway = (client) => client.getSyncState() !== sdk.SyncState.Syncing;
  await Promise.all(clients.map((c) => eventually(c, "the server's end", () => isAway(c))));
  const tokens = clients.map((client) => client.store.getSyncToken());
  await server.start();
  await Promise.all(
    clients.map(async (client) => {
      const resumed = () => {
        client.retryImmediately();
        return !isAway(client);
      };
      await eventually(client, "the server again", resumed);
    }),
  );
  const used = log
    .slice(answered)
    .filter(({ pathname }) => pathname.endsWith("/sync"))
    .map(({ searchParams }) => searchParams.get("since"));
  for (const token of tokens) assert.ok(used.includes(token), `${token} in ${used}`);
}

test("two people talk with matrix-js-sdk, across a restart of the server", async (t) => {
  const server = await startServer();
  t.after(() => server.stop());
  const log = [];
  const anonymous = await makeClient(server, log);
  for (const username of ["alice", "bob"]) {
    await anonymous.registerRequest({ username, password, auth: { type: "m.login.dummy" } });
  }
  const [alice, bob] = await Promise.all(["alice", "bob"].map((n) => makeClient(server, log, n)));
  await Promise.all([start(t, alice), start(t, bob)]);

  const roomId = await meet(alice, bob);
  await restartUnder(server, [alice, bob], log);
  await bob.sendTextMessage(roomId, "Still here");
  await sees(alice, roomId, "Still here");
  await alice.sendTextMessage(roomId, "So am I");
  await sees(bob, roomId, "So am I");

  const alone = Array.from({ length: 12 }, (_, i) => `alone ${i + 1}`);
  await pageBack(bob, roomId, [...alone, "Good evening", "And to you", "Still here", "So am I"]);
  await redact(alice, bob, roomId, "Good evening");
  await bob.leave(roomId);
  await seesMembership(alice, roomId, bob.getUserId(), "leave");
  await eventually(bob, "its leave", () => bob.getRoom(roomId).getMyMembership() === "leave");
  await bob.forget(roomId);
  await alice.logout(true);
  assertNoErrors(log);
});
