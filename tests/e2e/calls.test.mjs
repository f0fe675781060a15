// Calls as Element Call makes them: matrix-js-sdk schedules that its user leaves, and puts it off
// as long as it is there; when it is gone, and the server was killed besides, the others see it.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { startServer } from "./harness.mjs";
import { assertNoErrors, eventually, makeClient, password, start, until } from "./js_client.mjs";
import { eventsOf, sees } from "./js_client.mjs";

const callMember = "org.matrix.msc3401.call.member";
const transport = { type: "livekit", livekit_service_url: "https://livekit.example.org/jwt" };
const focus = { ...transport, livekit_alias: "" };
const unstable = "/_matrix/client/unstable";

/** Alice and Bob in a room in which everyone may be in a call. */
async function meet(t, log) {
  const vars = { RTC_TRANSPORTS: JSON.stringify([transport]), DEVELOPMENT: "true" };
  const server = await startServer({ vars });
  t.after(() => server.stop());
  for (const name of ["alice", "bob"]) await server.register(name, password);
  const alice = await makeClient(server, log, "alice");
  const bob = await makeClient(server, log, "bob");
  const { room_id: roomId } = await alice.createRoom({
    preset: "public_chat",
    power_level_content_override: { events: { [callMember]: 0 } },
  });
  await bob.joinRoom(roomId);
  for (const client of [alice, bob]) await start(t, client);
  for (const client of [alice, bob]) {
    const isThere = () => client.getRoom(roomId)?.getMyMembership() === "join";
    await eventually(client, "the room", isThere);
  }
  return { server, alice, bob, roomId };
}

const inCall = (client, roomId) =>
  client.matrixRTC.getRoomSession(client.getRoom(roomId)).memberships.map(({ sender }) => sender);

function countRestarts(log) {
  const isRestart = ({ method, pathname, sent }) =>
    method === "POST" && pathname.includes("/delayed_events/") && sent?.includes("restart");
  return log.filter(isRestart).length;
}

test("who loses the connection leaves the call, also if the server is killed", async (t) => {
  const log = [];
  const { server, alice, bob, roomId } = await meet(t, log);
  const session = alice.matrixRTC.getRoomSession(alice.getRoom(roomId));
  session.joinRoomSession([focus], { type: "livekit", focus_selection: "oldest_membership" }, {
    useNewMembershipManager: true,
    membershipServerSideExpiryTimeout: 2000,
    membershipKeepAlivePeriod: 400,
  });
  await until("a call", () => inCall(bob, roomId).length === 1);
  assert.deepEqual(inCall(bob, roomId), [alice.getUserId()]);
  await sleep(4000);
  assert.deepEqual(inCall(bob, roomId), [alice.getUserId()], "heartbeats keep her there");
  assert.ok(countRestarts(log) >= 5, `${countRestarts(log)} heartbeats`);
  assertNoErrors(log);

  // Her computer loses its power, and so does the server's.
  const { baseUrl, deviceId } = alice;
  alice.stopClient();
  alice.http.opts.baseUrl = "http://127.0.0.1:1";
  await server.end("SIGKILL", { group: true });
  await sleep(2500);
  await server.start();
  await until("the end of the call", () => inCall(bob, roomId).length === 0);
  const members = bob.getRoom(roomId).currentState.getStateEvents(callMember);
  assert.deepEqual(members.map((event) => event.getContent()), [{}]);
  assert.equal(members[0].getStateKey(), `_@alice:test_${deviceId}`);
  assert.notEqual(baseUrl, alice.http.opts.baseUrl);
});

test("delayed events are scheduled, listed, put off, cancelled and sent", async (t) => {
  const log = [];
  const { alice, bob, roomId } = await meet(t, log);
  const say = (body, delay, txnId) =>
    alice._unstable_sendDelayedEvent(
      roomId, { delay }, null, "m.room.message", { msgtype: "m.text", body }, txnId);
  const late = await say("late", 60_000);
  const never = await say("never", 30_000);
  const now = await say("now", 60_000);
  assert.deepEqual(await say("once", 800, "txn"), await say("once", 800, "txn"));
  const { delayed_events: listed } = await alice._unstable_getDelayedEvents();
  assert.deepEqual(listed.map(({ content }) => content.body), ["once", "never", "late", "now"]);
  assert.equal(listed[2].delay_id, late.delay_id);
  await alice._unstable_updateDelayedEvent(never.delay_id, "cancel");
  await alice._unstable_updateDelayedEvent(now.delay_id, "send");
  await sees(bob, roomId, "now");
  await sees(bob, roomId, "once");
  const started = Date.now();
  const soon = await say("soon", 1000);
  for (let count = 0; count < 4; count += 1) {
    await sleep(500);
    await alice._unstable_updateDelayedEvent(soon.delay_id, "restart");
  }
  await sees(bob, roomId, "soon");
  assert.ok(Date.now() - started >= 3000, "it was put off");
  await sees(alice, roomId, "soon");
  const texts = eventsOf(bob, roomId).map((event) => event.getContent().body).filter(Boolean);
  assert.deepEqual(texts, ["now", "once", "soon"]);
  const sent = eventsOf(alice, roomId).find((event) => event.getContent().body === "soon");
  assert.equal(sent.getUnsigned()["org.matrix.msc4140.delay_id"], soon.delay_id);
  assertNoErrors(log);
  const gone = alice._unstable_updateDelayedEvent(soon.delay_id, "restart");
  await assert.rejects(gone, { errcode: "M_NOT_FOUND" });
});

test("to schedule an event costs five rows, and to put it off one and no object", async (t) => {
  const { server, alice, roomId } = await meet(t, []);
  const token = alice.getAccessToken();
  const cost = ({ status, headers }) => {
    assert.equal(status, 200);
    const value = (name) => Number(headers.get("server-timing").match(`${name};desc="(\\d+)"`)[1]);
    return ["d1", "rows-written", "hops"].map(value);
  };
  const path = `/_matrix/client/v3/rooms/${roomId}/send/m.room.message/1`;
  const body = { msgtype: "m.text", body: "later" };
  const delayed = `${path}?org.matrix.msc4140.delay=60000`;
  const scheduled = await server.request("PUT", delayed, { token, body });
  assert.deepEqual(cost(scheduled), [2, 5, 1]);
  const event = `${unstable}/org.matrix.msc4140/delayed_events/${scheduled.body.delay_id}`;
  for (const each of [token, undefined]) {
    const restarted = await server.request("POST", `${event}/restart`, { token: each, body: {} });
    assert.deepEqual(cost(restarted), [1, 1, 0]);
  }
});

test("a conference is told where its media goes", async (t) => {
  const { server, alice } = await meet(t, []);
  const token = alice.getAccessToken();
  for (const path of [`${unstable}/org.matrix.msc4143`, "/_matrix/client/v1"]) {
    const told = await server.api(token, "GET", `${path}/rtc/transports`);
    assert.deepEqual(told, { rtc_transports: [transport] });
  }
  const wellKnown = await server.api(undefined, "GET", "/.well-known/matrix/client");
  assert.deepEqual(wellKnown["org.matrix.msc4143.rtc_foci"], [transport]);
});
