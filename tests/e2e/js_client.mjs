// Clients on matrix-js-sdk, which Element is built on, and waiting for what they see.
import assert from "node:assert/strict";
import { clearTimeout, setTimeout } from "node:timers";
import * as sdk from "matrix-js-sdk";

const { ClientEvent, MatrixEventEvent, RoomEvent, RoomMemberEvent, RoomStateEvent } = sdk;
const waitMs = 30_000;
export const password = "a long passphrase";

/** Warnings and errors of the library, which tells at length what it does. */
export const complaints = [];
for (const level of ["trace", "debug", "log", "info"]) console[level] = () => {};
for (const level of ["warn", "error"]) {
  console[level] = (...texts) => complaints.push([level, ...texts].map(String).join(" "));
}
// The library leaves the timer of each request's timeout behind: that must not hold the process.
globalThis.setTimeout = (...args) => setTimeout(...args).unref();

/**
 * What is answered with an error although all is well, as by a default Synapse: the library asks
 * for these to learn that they are not there, or is asked for the password.
 */
const expectedErrors = [
  /^404 GET \/_matrix\/client\/v3\/user\/[^/]*\/account_data\/m\./,
  /^404 GET \/_matrix\/client\/v3\/room_keys\/version M_NOT_FOUND/,
  /^404 GET .*\/dehydrated_device M_NOT_FOUND/,
  /^401 POST .*\/(delete_devices|keys\/device_signing\/upload) .*"flows"/,
];

/**
 * A library client that writes every answer into `log`; given a name, it is logged in. `options`
 * are the library's.
 */
export async function makeClient(server, log, name, options = {}) {
  const anonymous = { baseUrl: server.url, fetchFn: loggedFetch(log) };
  if (name === undefined) return sdk.createClient(anonymous);
  const { user_id, access_token, device_id } = await sdk.createClient(anonymous).loginRequest({
    type: "m.login.password",
    identifier: { type: "m.id.user", user: name },
    password,
  });
  const session = { userId: user_id, accessToken: access_token, deviceId: device_id };
  return sdk.createClient({ ...anonymous, ...session, ...options });
}

function loggedFetch(log) {
  return async (resource, options) => {
    const response = await fetch(resource, options);
    const { pathname, searchParams } = new URL(resource);
    const body = response.ok ? "" : await response.clone().text();
    const method = options?.method ?? "GET";
    const { body: sent, headers } = options ?? {};
    const by = headers?.Authorization;
    log.push({ method, pathname, searchParams, by, sent, status: response.status, body });
    return response;
  };
}

export function assertNoErrors(log) {
  const errors = log
    .filter(({ status }) => status >= 400)
    .map(({ method, pathname, status, body }) => {
      const errcode = body.startsWith("{") ? (JSON.parse(body).errcode ?? "") : "";
      return `${status} ${method} ${pathname} ${errcode} ${body}`;
    });
  const isExpected = (error) => expectedErrors.some((known) => known.test(error));
  assert.deepEqual(errors.filter((error) => !isExpected(error)), []);
}

/** Asks `look` until it resolves with something true. */
export async function until(what, look) {
  for (const end = Date.now() + waitMs; Date.now() < end; ) {
    const found = await look();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  throw new Error(`it never came to ${what}`);
}

/** Resolves with the first true value of `look`, which is asked again at each of these events. */
export function eventually(client, what, look) {
  const events = [
    ClientEvent.Sync,
    MatrixEventEvent.Decrypted,
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

export async function start(t, client, options = {}) {
  t.after(() => client.stopClient());
  await client.startClient({ initialSyncLimit: 5, ...options });
  await eventually(client, "its first sync", () => client.isInitialSyncComplete());
}

export function eventsOf(client, roomId) {
  return client.getRoom(roomId)?.getLiveTimeline().getEvents() ?? [];
}

export function textsOf(client, roomId) {
  return eventsOf(client, roomId)
    .filter((event) => event.getType() === "m.room.message" && event.status === null)
    .map((event) => event.getContent().body);
}

export function sees(client, roomId, body) {
  return eventually(client, `"${body}"`, () => textsOf(client, roomId).includes(body));
}

export function seesMembership(client, roomId, userId, membership) {
  const found = () => client.getRoom(roomId)?.getMember(userId)?.membership === membership;
  return eventually(client, `${userId} ${membership}`, found);
}

/** Fills the live timeline back to the creation of the room. */
export async function pageToCreation(client, roomId) {
  const room = client.getRoom(roomId);
  for (let page = 0; eventsOf(client, roomId)[0].getType() !== "m.room.create"; page += 1) {
    assert.ok(page < 200, "the creation of the room is never reached");
    await client.scrollback(room, 7);
  }
}

/**
 * Restarts the server under running clients; each goes on from the `since` that it had. `during`
 * happens before they look again.
 */
export async function restartUnder(server, clients, log, during = async () => {}) {
  await server.end();
  const answered = log.length;
  const isAway = (client) => client.getSyncState() !== sdk.SyncState.Syncing;
  await Promise.all(clients.map((c) => eventually(c, "the server's end", () => isAway(c))));
  const tokens = clients.map((client) => client.store.getSyncToken());
  await server.start();
  await during();
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
