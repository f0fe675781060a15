// matrix-js-sdk, which Element is built on: two people talk, across a restart of the server.
import assert from "node:assert/strict";
import { test } from "node:test";
import { startServer } from "./harness.mjs";
import {
  assertNoErrors,
  eventsOf,
  eventually,
  makeClient,
  pageToCreation,
  password,
  restartUnder,
  sees,
  seesMembership,
  start,
  textsOf,
} from "./js_client.mjs";

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
  await pageToCreation(client, roomId);
  assert.deepEqual(textsOf(client, roomId), expected);
  const ids = eventsOf(client, roomId).map((event) => event.getId());
  assert.equal(new Set(ids).size, ids.length);
}

async function redact(alice, bob, roomId, text) {
  const isText = (event) => event.getContent().body === text;
  const event = eventsOf(bob, roomId).find(isText);
  await alice.redactEvent(roomId, event.getId(), undefined, { reason: "a slip" });
  await eventually(bob, "the redaction", () => event.isRedacted());
  assert.equal(event.getContent().body, undefined);
  const fetched = await bob.fetchRoomEvent(roomId, event.getId());
  assert.deepEqual(fetched.content, {});
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
