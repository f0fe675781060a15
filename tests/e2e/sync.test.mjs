// What /sync costs on the real database, counted by the server itself.
import assert from "node:assert/strict";
import { test } from "node:test";
import { startServer } from "./harness.mjs";

const syncPath = "/_matrix/client/v3/sync";

/** A server that counts. */
async function started(t) {
  const server = await startServer({ vars: { DEVELOPMENT: "true" } });
  t.after(() => server.stop());
  return server;
}

/** Round trips to the database and rows read, of the `Server-Timing` header. */
function cost(answer) {
  const timing = answer.headers.get("server-timing");
  const count = (name) => Number(timing.match(new RegExp(`${name};desc="(\\d+)"`))[1]);
  return { roundTrips: count("d1"), rowsRead: count("rows-read") };
}

async function sync(server, account, query = {}) {
  const target = `${syncPath}?${new URLSearchParams(query)}`;
  const answer = await server.request("GET", target, { token: account.access_token });
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return { body: answer.body, ...cost(answer) };
}

/** Waits until the user is known to be online, which is news once; resolves with the position. */
async function settle(server, account, since) {
  const { body } = await sync(server, account, { since, timeout: "5000" });
  assert.equal(body.presence.events[0].sender, account.user_id);
  return body.next_batch;
}

/** Makes rooms, some at a time. */
async function createRooms(server, account, count) {
  const rooms = [];
  const create = async () => {
    while (rooms.length < count) {
      const index = rooms.push(undefined) - 1;
      const target = "/_matrix/client/v3/createRoom";
      const { room_id } = await server.api(account.access_token, "POST", target, {});
      rooms[index] = room_id;
    }
  };
  await Promise.all(Array.from({ length: 8 }, create));
  return rooms;
}

function say(server, account, room, text) {
  const target = `/_matrix/client/v3/rooms/${encodeURIComponent(room)}/send/m.room.message/${text}`;
  const body = { msgtype: "m.text", body: text };
  return server.api(account.access_token, "PUT", target, body);
}

test("a sync without news costs the same in 10 rooms and in 300", async (t) => {
  const server = await started(t);
  const costs = [];
  for (const count of [10, 300]) {
    const account = await server.register(`user${count}`);
    const [room] = await createRooms(server, account, count);
    const first = await sync(server, account);
    assert.equal(Object.keys(first.body.rooms.join).length, count);
    const since = await settle(server, account, first.body.next_batch);
    const idle = await sync(server, account, { since });
    assert.equal(idle.body.rooms ?? idle.body.presence, undefined);
    assert.equal(idle.roundTrips, 1);
    assert.ok(idle.rowsRead <= 20, `${idle.rowsRead} rows in ${count} rooms`);
    const waited = await sync(server, account, { since, timeout: "200" });
    assert.equal(waited.roundTrips, 2);
    assert.ok(waited.rowsRead <= 40, `${waited.rowsRead} rows in ${count} rooms`);
    // One to find nothing, one after registering, one after the wake.
    const woken = sync(server, account, { since, timeout: "30000" });
    const text = `hello${count}`;
    await new Promise((resolve) => setTimeout(resolve, 500));
    await say(server, account, room, text);
    const { body, roundTrips } = await woken;
    assert.equal(body.rooms.join[room].timeline.events[0].content.body, text);
    assert.equal(roundTrips, 3);
    costs.push([idle.rowsRead, waited.rowsRead]);
    t.diagnostic(`${count} rooms: ${idle.rowsRead} rows, ${waited.rowsRead} after a wait`);
  }
  assert.deepEqual(costs[0], costs[1]);
});

test("a first sync of 50 rooms takes at most 4 round trips", async (t) => {
  const server = await started(t);
  const account = await server.register("alice");
  await createRooms(server, account, 50);
  // Who comes online is noted beside the answer: that is counted elsewhere.
  const { body, roundTrips, rowsRead } = await sync(server, account, { set_presence: "offline" });
  assert.equal(Object.keys(body.rooms.join).length, 50);
  assert.ok(roundTrips <= 4, `${roundTrips} round trips`);
  t.diagnostic(`${roundTrips} round trips, ${rowsRead} rows`);
});
