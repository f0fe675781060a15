// End-to-end encryption between libraries: matrix-js-sdk with /sync, the Matrix Rust SDK with
// sliding sync and with /sync, and matrix-nio are in one room, and everyone reads everyone.
import assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { startServer } from "./harness.mjs";
import { assertNoErrors, password, restartUnder, seesMembership, until } from "./js_client.mjs";
import {
  answersVerification,
  assertNoComplaints,
  encryption,
  isVerified,
  knows,
  makeDevice,
  reads,
  setUpRecovery,
} from "./js_crypto.mjs";
import { startNio } from "./nio_device.mjs";
import { followWith } from "./rust_client.mjs";
import { assertContent, startWitness } from "./witness.mjs";

/** What a test asks of a device, whatever its library is. */
function jsDevice(client) {
  return {
    userId: client.getUserId(),
    join: (room) => client.joinRoom(room),
    knows: (room, userId) => seesMembership(client, room, userId, "join"),
    say: (room, text) => client.sendTextMessage(room, text),
    reads: (room, { text }) => reads(client, room, text),
  };
}

function rustDevice(client) {
  return {
    userId: client.userId,
    join: async (room) => {
      await client.call("wait_room", { room, membership: "invite" });
      await client.call("join", { room });
    },
    knows: (room, user) => client.call("wait_member", { room, user }),
    say: (room, body) => {
      const content = { msgtype: "m.text", body };
      return client.call("send", { room, type: "m.room.message", content });
    },
    reads: async (room, { event, text }) => {
      const read = await client.call("wait_event", { room, event });
      assert.ok(read.encrypted, client.name);
      assert.equal(read.content.body, text, client.name);
    },
  };
}

function nioDevice(client) {
  return {
    userId: client.userId,
    join: (room) => client.call("join", { room }),
    knows: (room, user) => client.call("wait_member", { room, user }),
    say: (room, text) => client.call("say", { room, text }),
    reads: (room, { text }) => client.call("wait_text", { room, text }),
  };
}

async function everyoneReadsEveryone(devices, room, round) {
  for (const [number, device] of devices.entries()) {
    const text = `${round}: ${number} speaks`;
    const { event_id: event } = await device.say(room, text);
    await Promise.all(devices.map((other) => other.reads(room, { event, text })));
  }
}

/** Emoji are compared between a new device on the Rust SDK and an old one on matrix-js-sdk. */
async function verify(older, newer) {
  const [user, device] = [older.getUserId(), older.getDeviceId()];
  // A request of a device that is not known yet is left aside.
  await until("the new device known", () => knows(older, user, newer.deviceId));
  const answered = answersVerification(older);
  const { emoji } = await newer.call("request_verification", { user, device });
  const { shown, done } = await answered;
  assert.deepEqual(emoji, shown.sas.emoji.map(([symbol]) => symbol));
  await Promise.all([shown.confirm(), newer.call("confirm_verification")]);
  await done;
  const settled = { verified: true, cross_signing: true, backup: true };
  let state;
  const isSettled = async () => {
    // The library does not always look again whether all is recovered when the last secret comes.
    const { recovery: _, ...rest } = await newer.call("encryption");
    state = rest;
    return isDeepStrictEqual(state, settled);
  };
  await until("all secrets on the new device", isSettled).catch(() => {});
  assert.deepEqual(state, settled);
}

/** The new device pages back and decrypts with the keys in the backup. */
async function readsHistory(client, room, texts) {
  await client.call("page_back", { room });
  const events = await client.call("timeline", { room });
  const encrypted = events.filter(({ type, unable_to_decrypt: dark, encrypted: bright }) =>
    dark || bright || type === "m.room.encrypted");
  assert.equal(encrypted.length, texts.length);
  const read = await Promise.all(
    encrypted.map(({ event_id: event }) => client.call("wait_event", { room, event })),
  );
  assert.deepEqual(read.map(({ content }) => content.body), texts);
}

test("people on three libraries read each other, across a restart of the server", async (t) => {
  const server = await startServer();
  t.after(() => server.stop());
  const witness = await startWitness(t, server);
  const names = ["alice", "bob", "carol", "dave"];
  await Promise.all(names.map((name) => server.register(name, password)));
  const log = [];
  const alice = await makeDevice(t, server, log, "alice");
  await setUpRecovery(alice);
  const bob = await followWith(t, witness, "bob", "sync_service", password);
  const carol = await followWith(t, witness, "carol", "sync", password);
  const dave = await startNio(t, witness, "dave", password);
  const devices = [jsDevice(alice), rustDevice(bob), rustDevice(carol), nioDevice(dave)];

  const { room_id: room } = await alice.createRoom({
    preset: "private_chat",
    invite: devices.slice(1).map(({ userId }) => userId),
    initial_state: [encryption],
  });
  for (const device of devices.slice(1)) await device.join(room);
  await Promise.all(
    devices.flatMap((one) => devices.map((other) => one.knows(room, other.userId))),
  );
  await everyoneReadsEveryone(devices, room, "one");

  const alicesNew = await followWith(t, witness, "alice", "sync_service", password);
  await verify(alice, alicesNew);
  await until("trust in the new device", () =>
    isVerified(alice, { getUserId: () => alicesNew.userId, getDeviceId: () => alicesNew.deviceId }),
  );
  await readsHistory(alicesNew, room, devices.map((_, number) => `one: ${number} speaks`));
  devices.push(rustDevice(alicesNew));
  await restartUnder(server, [alice], log);
  await Promise.all([bob, alicesNew].map((client) => client.call("hurry")));
  await everyoneReadsEveryone(devices, room, "two");
  assertNoErrors(log);
  assertNoComplaints();
  assertContent(witness, [bob, carol, dave, alicesNew]);
});
