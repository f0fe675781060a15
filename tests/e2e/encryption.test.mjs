// End-to-end encryption with matrix-js-sdk and its Rust crypto: two people with two devices each.
import assert from "node:assert/strict";
import { test } from "node:test";
import { startServer } from "./harness.mjs";
import {
  assertNoErrors,
  pageToCreation,
  password,
  restartUnder,
  seesMembership,
  textsOf,
  until,
} from "./js_client.mjs";
import {
  assertNoComplaints,
  encryption,
  isVerified,
  knows,
  makeDevice,
  reads,
  setUpRecovery,
  verifyBySas,
} from "./js_crypto.mjs";

async function makeEncryptedRoom(alice, bob) {
  const { room_id: roomId } = await alice.createRoom({
    name: "Behind the arras",
    invite: [bob.getUserId()],
    preset: "private_chat",
    initial_state: [encryption],
  });
  await seesMembership(bob, roomId, bob.getUserId(), "invite");
  await bob.joinRoom(roomId);
  await seesMembership(alice, roomId, bob.getUserId(), "join");
  return roomId;
}

async function everyoneReads(clients, roomId, sender, body) {
  await sender.sendTextMessage(roomId, body);
  await Promise.all(clients.map((client) => reads(client, roomId, body)));
}

/** The backup has the keys of as many conversations as there were. */
function isBackedUp(server, client, sessions) {
  const path = "/_matrix/client/v3/room_keys/version";
  const fetched = () => server.api(client.getAccessToken(), "GET", path);
  return until("a full backup", async () => (await fetched()).count >= sessions);
}

/** Fetches all of the backup with the key that this device was given, and reads the history. */
async function restoresHistory(client, roomId, texts) {
  const crypto = client.getCrypto();
  await until("the backup's key", () => crypto.getSessionBackupPrivateKey());
  const { total, imported } = await crypto.restoreKeyBackup();
  assert.equal(imported, total);
  await pageToCreation(client, roomId);
  for (const text of texts) await reads(client, roomId, text);
  assert.deepEqual(textsOf(client, roomId), texts);
}

/** The devices that `client` has sent keys to since `from`: "user device". */
function recipientsOf(client, log, from) {
  const sender = `Bearer ${client.getAccessToken()}`;
  const isKeys = ({ by, pathname }) =>
    by === sender && pathname.includes("/sendToDevice/m.room.encrypted/");
  const messages = log.slice(from).filter(isKeys).map(({ sent }) => JSON.parse(sent).messages);
  return messages
    .flatMap((users) => Object.entries(users))
    .flatMap(([user, devices]) => Object.keys(devices).map((device) => `${user} ${device}`));
}

async function deleteDevice(client, deviceId) {
  const identifier = { type: "m.id.user", user: client.getUserId() };
  const refused = await client.deleteMultipleDevices([deviceId]).catch((error) => error);
  assert.equal(refused.httpStatus, 401);
  const { session } = refused.data;
  const auth = { type: "m.login.password", identifier, password, session };
  await client.deleteMultipleDevices([deviceId], auth);
}

function knowsDevice(client, device) {
  return knows(client, device.getUserId(), device.getDeviceId());
}

test("two people with two devices each talk in secret, across a restart", async (t) => {
  const server = await startServer();
  t.after(() => server.stop());
  for (const name of ["alice", "bob"]) await server.register(name, password);
  const log = [];
  const alice = await makeDevice(t, server, log, "alice");
  const bob = await makeDevice(t, server, log, "bob");
  const alicesKey = await setUpRecovery(alice);
  await setUpRecovery(bob);

  const roomId = await makeEncryptedRoom(alice, bob);
  const texts = ["secret 1", "secret 2", "secret 3", "secret 4", "secret 5", "I keep it"];
  for (const text of texts.slice(0, -1)) await everyoneReads([alice, bob], roomId, alice, text);
  await everyoneReads([alice, bob], roomId, bob, texts.at(-1));
  await Promise.all([alice, bob].map((client) => isBackedUp(server, client, 2)));

  const bobsNew = await makeDevice(t, server, log, "bob");
  await verifyBySas(bobsNew, bob);
  await restoresHistory(bobsNew, roomId, texts);
  assert.ok(await isVerified(bobsNew, bob));
  await until("trust in Bob's new device", () => isVerified(bob, bobsNew));

  const alicesNew = await makeDevice(t, server, log, "alice");
  alicesNew.recoverWith(alicesKey);
  assert.ok(await alicesNew.getCrypto().userHasCrossSigningKeys(alice.getUserId(), true));
  await alicesNew.getCrypto().bootstrapCrossSigning({});
  await alicesNew.getCrypto().loadSessionBackupPrivateKeyFromSecretStorage();
  await restoresHistory(alicesNew, roomId, texts);
  await until("trust in Alice's new device", () => isVerified(alice, alicesNew));

  const all = [alice, alicesNew, bob, bobsNew];
  await until("all devices known", async () => {
    const pairs = all.flatMap((one) => all.map((other) => [one, other]));
    const known = await Promise.all(pairs.map((pair) => knowsDevice(...pair)));
    return known.every(Boolean);
  });
  await everyoneReads(all, roomId, alice, "to the four of us");
  await everyoneReads(all, roomId, bobsNew, "and back");
  // What is said while the clients are away is in the dark for none of them.
  await restartUnder(server, all, log, () => alice.sendTextMessage(roomId, "are you there?"));
  await Promise.all(all.map((client) => reads(client, roomId, "are you there?")));
  for (const client of all) await everyoneReads(all, roomId, client, client.getDeviceId());

  await deleteDevice(bob, bobsNew.getDeviceId());
  bobsNew.stopClient();
  const rest = [alice, alicesNew, bob];
  await until("the deleted device forgotten", async () => !(await knowsDevice(alice, bobsNew)));
  const before = log.length;
  await everyoneReads(rest, roomId, alice, "without it");
  const recipients = recipientsOf(alice, log, before);
  assert.ok(recipients.includes(`${bob.getUserId()} ${bob.getDeviceId()}`), `${recipients}`);
  assert.ok(!recipients.includes(`${bob.getUserId()} ${bobsNew.getDeviceId()}`), `${recipients}`);
  assertNoErrors(log);
  assertNoComplaints();
});
