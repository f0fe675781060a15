// matrix-js-sdk with its Rust crypto: devices that bootstrap, verify each other and recover.
import assert from "node:assert/strict";
import * as cryptoApi from "matrix-js-sdk/lib/crypto-api/index.js";
import {
  complaints,
  eventsOf,
  eventually,
  makeClient,
  password,
  start,
  until,
} from "./js_client.mjs";

const { CryptoEvent, VerificationPhase, VerificationRequestEvent, VerifierEvent } = cryptoApi;

/** The state with which a room begins encrypted. */
export const encryption = {
  type: "m.room.encryption",
  state_key: "",
  content: { algorithm: "m.megolm.v1.aes-sha2" },
};

/** What the library complains of although the server has done nothing wrong. */
const expectedComplaints = [
  // Rules that it would like every server to have.
  /Adding default global \w+ push rule/,
  /resetCrossSigning: Secret storage is not yet set up/,
  /\[MatrixRTCSessionManager\] Got room state event for unknown room/,
  // Of a thread it asks for all that relates to its root, also for reactions, which are not in it.
  /Ignoring event=.* that does not belong in timeline/,
  // It claims keys for two reasons at once.
  /Received a `\/keys\/claim` response for the wrong request/,
  // A new session publishes its keys and asks for them at the same time.
  /Our own device might have been deleted/,
  // What a new device has from the backup already.
  /Received a megolm room key that we already have a better version of/,
  // The server was away for its restart.
  /\/sync error .* fetch failed/,
  // A new device, before it is verified and has the backup; the tests read everything afterwards.
  /Can't find the room key to decrypt the event|Error decrypting event/,
  /Can't sign the device keys for .*, no private device signing key found/,
];

export function assertNoComplaints() {
  const isExpected = (complaint) => expectedComplaints.some((known) => known.test(complaint));
  assert.deepEqual(complaints.filter((complaint) => !isExpected(complaint)), []);
}

/** A device of `name` that encrypts; its stores are in memory. */
export async function makeDevice(t, server, log, name) {
  const keys = new Map();
  const cryptoCallbacks = {
    cacheSecretStorageKey: (keyId, _, key) => keys.set(keyId, key),
    getSecretStorageKey: async ({ keys: wanted }) => {
      const keyId = Object.keys(wanted)[0];
      return [keyId, keys.get(keyId) ?? keys.get("recovery")];
    },
  };
  const client = await makeClient(server, log, name, { cryptoCallbacks });
  client.recoverWith = (key) => keys.set("recovery", key);
  await client.initRustCrypto({ useIndexedDB: false });
  // It sends what it owes to other devices after a sync only, even when it comes to know it later.
  await start(t, client, { pollTimeout: 1_000 });
  return client;
}

/** Answers the server's question for the password. */
const withPassword = (client) => async (request) => {
  try {
    return await request(null);
  } catch (error) {
    if (error.httpStatus !== 401) throw error;
    const identifier = { type: "m.id.user", user: client.getUserId() };
    const { session } = error.data;
    return request({ type: "m.login.password", identifier, password, session });
  }
};

/** Cross-signing, secret storage and a key backup; resolves with the key that opens them. */
export async function setUpRecovery(client) {
  const crypto = client.getCrypto();
  const authUploadDeviceSigningKeys = withPassword(client);
  await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys });
  const recovery = await crypto.createRecoveryKeyFromPassphrase();
  await crypto.bootstrapSecretStorage({
    createSecretStorageKey: async () => recovery,
    setupNewSecretStorage: true,
    setupNewKeyBackup: true,
  });
  assert.ok(await crypto.isCrossSigningReady());
  await until("the use of the backup", () => crypto.getActiveSessionBackupVersion());
  return recovery.privateKey;
}

export async function isVerified(client, device) {
  const [userId, deviceId] = [device.getUserId(), device.getDeviceId()];
  const status = await client.getCrypto().getDeviceVerificationStatus(userId, deviceId);
  return status?.crossSigningVerified === true;
}

/** Whether `client` takes this device for one of that user's. */
export async function knows(client, userId, deviceId) {
  const devices = await client.getCrypto().getUserDeviceInfo([userId]);
  return devices.get(userId)?.has(deviceId) === true;
}

/** A new device asks the same user's other one; people compare emoji on both. */
export async function verifyBySas(newer, older) {
  const answered = answersVerification(older);
  const request = await newer.getCrypto().requestOwnUserVerification();
  await reaches(request, VerificationPhase.Ready);
  const mine = showsSas(await request.startVerification("m.sas.v1"));
  const theirs = await answered;
  const shown = await mine.shown;
  assert.equal(shown.sas.emoji.length, 7);
  assert.deepEqual(shown.sas.emoji, theirs.shown.sas.emoji);
  await Promise.all([shown.confirm(), theirs.shown.confirm()]);
  await Promise.all([mine.done, theirs.done]);
}

/** Accepts the next request of another device: `shown` has the emoji, `done` ends with it. */
export async function answersVerification(client) {
  const request = await new Promise((resolve) =>
    client.once(CryptoEvent.VerificationRequestReceived, resolve),
  );
  await request.accept();
  await reaches(request, VerificationPhase.Started);
  const { shown, done } = showsSas(request.verifier);
  return { shown: await shown, done };
}

function showsSas(verifier) {
  held.add(verifier);
  const shown = new Promise((resolve) => verifier.once(VerifierEvent.ShowSas, resolve));
  return { shown, done: verifier.verify() };
}

/** The library holds these weakly: what nobody else knows is gone with its listeners. */
const held = new Set();

function reaches(request, phase) {
  held.add(request);
  return new Promise((resolve, reject) => {
    const check = () => {
      if (request.phase === VerificationPhase.Cancelled) reject(new Error("cancelled"));
      else if (request.phase < phase) return;
      else resolve();
      request.off(VerificationRequestEvent.Change, check);
    };
    request.on(VerificationRequestEvent.Change, check);
    check();
  });
}

/** Resolves with the event that says `body` to this device, which could decrypt it. */
export function reads(client, roomId, body) {
  const found = () =>
    eventsOf(client, roomId).find(
      (event) => event.isEncrypted() && event.getClearContent()?.body === body,
    );
  return eventually(client, `"${body}", decrypted`, found);
}
