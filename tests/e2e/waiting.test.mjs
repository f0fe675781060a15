// Many who wait: nobody is forgotten, whatever happens to the sockets between, and nothing is
// left of those who have gone. There is one notifier here, which says how many wait at it.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Agent, fetch } from "undici";
import { databaseFile } from "../../scripts/bench/memory.mjs";
import { makeCertificate, root, startServer } from "./harness.mjs";

const v3 = "/_matrix/client/v3";
const members = 10_000;
const waiting = 500;
const bystanders = 5;
const devices = 100;
const socketsOfADeviceMax = 10;
const atOnce = 50;
const stormRounds = 5;
const longPollMs = 30_000;
const giveUpMs = 20_000;
// Much less than the time that they would have waited.
const releasedMaxMs = 5_000;
// A look before the wait, one after registering, and at most two after the wake.
const roundTripsOfAWokenSyncMax = 4;
// The room may have been asleep, and looks up its members then.
const sendCost = { d1: 3, "rows-written": 22 };
const warmSendCost = { d1: 2, "rows-written": 22 };

describe("syncs that wait", () => {
  const { key, certificate } = makeCertificate({ after }, "IP:127.0.0.1");
  let server;
  let agent;
  let alice;
  let room;
  let sent = 0;
  const accounts = Array.from({ length: waiting }, (_, i) => ({ access_token: `fill${i + 1}` }));

  before(async () => {
    // Each request on a connection of its own: the server closes idle ones at any moment.
    const connect = { rejectUnauthorized: false };
    agent = new Agent({ connections: 4 * waiting, pipelining: 0, connect });
    const vars = { DEVELOPMENT: "true", PRESENCE: "off", SYNC_NOTIFIERS: "1" };
    const tls = ["--tls-key", key, "--tls-cert", certificate];
    server = await startServer({ vars, args: ["--listen", "https://127.0.0.1:0", ...tls] });
    alice = await server.register("alice");
    const creation = { preset: "public_chat" };
    const created = await server.api(alice.access_token, "POST", `${v3}/createRoom`, creation);
    room = created.room_id;
    await say();
    await server.end();
    const script = path.join(root, "scripts/bench/fill.py");
    const numbers = [members, waiting].map(String);
    const args = [script, databaseFile(server.dataFolder), "0", room, ...numbers];
    const filled = spawnSync("python3", args, { encoding: "utf8" });
    assert.equal(filled.status, 0, filled.stderr);
    await server.start();
    await say();
  });

  after(async () => {
    await agent.destroy();
    await server.stop();
  });

  /** A notice, of which no one is notified; resolves with its id and what it has cost. */
  async function say() {
    const path = `rooms/${encodeURIComponent(room)}/send/m.room.message/${(sent += 1)}`;
    const body = { msgtype: "m.notice", body: `message ${sent}` };
    const answer = await fetch(`${server.url}${v3}/${path}`, {
      method: "PUT",
      headers: { authorization: `Bearer ${alice.access_token}` },
      body: JSON.stringify(body),
      dispatcher: agent,
    });
    assert.equal(answer.status, 200);
    return { eventId: (await answer.json()).event_id, cost: costOf(answer) };
  }

  /** One request; resolves with nothing if the connection broke off. */
  async function sync(account, { since, timeout = 0, signal, base = server.url } = {}) {
    const query = new URLSearchParams({ timeout, ...(since && { since }) });
    const headers = { authorization: `Bearer ${account.access_token}` };
    const url = `${base}${v3}/sync?${query}`;
    try {
      const response = await fetch(url, { headers, signal, dispatcher: agent });
      const text = await response.text();
      assert.equal(response.status, 200, text);
      return { ...JSON.parse(text), cost: costOf(response) };
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
      return undefined;
    }
  }

  function costOf({ headers }) {
    const counts = headers.get("server-timing").matchAll(/([\w-]+);desc="(\d+)"/g);
    return Object.fromEntries([...counts].map(([, name, count]) => [name, Number(count)]));
  }

  /** Resolves with the answers once they have come. */
  function waitAll(waiters, query) {
    return Promise.all(waiters.map((each) => sync(each, { timeout: longPollMs, ...query })));
  }

  /** How many wait, by asking as one more of them. */
  async function countSockets() {
    const answer = await surely(alice, { since: await newest(), timeout: 1 });
    return answer.cost.sockets - 1;
  }

  async function untilSockets(count, withinMs = giveUpMs) {
    const deadline = Date.now() + withinMs;
    for (;;) {
      const found = await countSockets();
      if (found === count) return;
      assert.ok(Date.now() < deadline, `${found} wait, not ${count}`);
      await sleep(100);
    }
  }

  /** Where somebody is who has seen everything; the same for all. */
  async function newest() {
    return (await surely(alice)).next_batch;
  }

  /** Once more if the server has just closed the connection, as it does with idle ones. */
  async function surely(account, query) {
    for (let i = 0; i < 5; i += 1) {
      const answer = await sync(account, query);
      if (answer) return answer;
      await sleep(100);
    }
    throw new Error("the server does not answer");
  }

  /** Syncs from `since` until all these events have come. */
  async function follow(account, since, eventIds) {
    const missing = new Set(eventIds);
    for (let i = 0; i < 5 && missing.size > 0; i += 1) {
      const answer = await sync(account, { since, timeout: 1_000 });
      for (const eventId of missing) if (has(answer, eventId)) missing.delete(eventId);
      since = answer?.next_batch ?? since;
    }
    return missing.size === 0;
  }

  function has(answer, eventId) {
    const { timeline } = answer?.rooms?.join?.[room] ?? {};
    return timeline?.events.some(({ event_id: id }) => id === eventId) ?? false;
  }

  function checkCost(cost, limits) {
    for (const [name, limit] of Object.entries(limits)) {
      assert.ok(cost[name] <= limit, `${name} of a message: ${cost[name]}`);
    }
  }

  it("are woken alone of a room's ten thousand members, and nobody else", async () => {
    const names = Array.from({ length: bystanders }, (_, i) => `bystander${i}`);
    const others = await Promise.all(names.map((name) => server.register(name)));
    const since = await newest();
    const controller = new AbortController();
    const waits = waitAll(accounts, { since });
    const otherWaits = waitAll(others, { since, signal: controller.signal });
    await untilSockets(waiting + bystanders);
    const { eventId, cost } = await say();
    const answers = await waits;
    assert.equal(answers.filter((answer) => has(answer, eventId)).length, waiting);
    checkCost(cost, sendCost);
    checkCost((await say()).cost, warmSendCost);
    const roundTrips = Math.max(...answers.map((answer) => answer.cost.d1));
    assert.ok(roundTrips <= roundTripsOfAWokenSyncMax, `${roundTrips} round trips`);
    await untilSockets(bystanders);
    controller.abort();
    assert.ok((await otherWaits).every((answer) => answer === undefined));
    await untilSockets(0);
  });

  it("leave no socket behind when all hang up at once", async () => {
    const since = await newest();
    const controller = new AbortController();
    const { signal } = controller;
    const [plain, secure] = server.urls.map((base) => ({ since, signal, base }));
    const [some, others] = [accounts.slice(atOnce), accounts.slice(0, atOnce)];
    const waits = Promise.all([waitAll(some, plain), waitAll(others, secure)]);
    await untilSockets(waiting);
    controller.abort();
    assert.ok((await waits).flat().every((answer) => answer === undefined));
    await untilSockets(0, releasedMaxMs);
    const stays = sync(accounts[0], { since, timeout: longPollMs });
    await untilSockets(1);
    const { eventId } = await say();
    assert.ok(has(await stays, eventId));
    assert.ok(!server.log.includes("could not be woken"), server.log);
  });

  it("are all woken on a hundred devices of one user", async () => {
    const sessions = [];
    while (sessions.length < devices) {
      const logins = Array.from({ length: 10 }, () => server.login("alice"));
      sessions.push(...(await Promise.all(logins)));
    }
    const since = await newest();
    const waits = waitAll(sessions, { since });
    await untilSockets(devices);
    const { eventId } = await say();
    const answers = await waits;
    assert.equal(answers.filter((answer) => has(answer, eventId)).length, devices);
  });

  it("are no more than a few of one device: the oldest are answered", async () => {
    const since = await newest();
    const storm = waitAll(Array(atOnce).fill(accounts[0]), { since });
    await untilSockets(socketsOfADeviceMax);
    const { eventId } = await say();
    const answers = await storm;
    assert.ok(answers.every((answer) => answer?.next_batch));
    assert.equal(answers.filter((answer) => has(answer, eventId)).length, socketsOfADeviceMax);
    await untilSockets(0);
  });

  it("of a client that comes and goes in a storm leave nothing behind", async () => {
    const since = await newest();
    for (let round = 0; round < stormRounds; round += 1) {
      const controller = new AbortController();
      const { signal } = controller;
      const storm = waitAll(Array(atOnce).fill(accounts[0]), { since, signal });
      await sleep(100);
      controller.abort();
      await storm;
    }
    await untilSockets(0, releasedMaxMs);
    const { eventId } = await say();
    assert.ok(await follow(accounts[0], since, [eventId]));
  });

  for (const [how, signal, count] of [
    ["killed", "SIGKILL", waiting],
    ["replaced by another", "SIGTERM", devices],
  ]) {
    it(`go on from where they were after the server was ${how}`, async () => {
      const since = await newest();
      const waits = waitAll(accounts.slice(0, count), { since });
      await untilSockets(count);
      const missed = await say();
      await server.end(signal, { group: signal === "SIGKILL" });
      await waits;
      await server.start();
      const events = [missed.eventId, (await say()).eventId];
      const found = [];
      for (let i = 0; i < count; i += atOnce) {
        const some = accounts.slice(i, i + atOnce).map((each) => follow(each, since, events));
        found.push(...(await Promise.all(some)));
      }
      assert.equal(found.filter(Boolean).length, count);
      await untilSockets(0);
    });
  }
});
