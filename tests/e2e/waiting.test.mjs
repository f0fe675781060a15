// Many who wait: nobody is forgotten, whatever happens to the sockets between.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Agent, fetch } from "undici";
import { startServer } from "./harness.mjs";

const v3 = "/_matrix/client/v3";
const devices = 100;
const waiting = 200;
const longPollMs = 30_000;
// Long enough for every request to be registered.
const untilRegisteredMs = 3_000;

describe("syncs that wait", () => {
  let server;
  let agent;
  let alice;
  let bob;
  let room;
  let sent = 0;

  before(async () => {
    agent = new Agent({ connections: 2 * waiting, pipelining: 1 });
    server = await startServer();
    [alice, bob] = [await server.register("alice"), await server.register("bob")];
    const created = await server.api(alice.access_token, "POST", `${v3}/createRoom`, {
      preset: "public_chat",
    });
    room = encodeURIComponent(created.room_id);
    await server.api(bob.access_token, "POST", `${v3}/join/${room}`, {});
  });

  after(async () => {
    await agent.destroy();
    await server.stop();
  });

  async function say() {
    const path = `${v3}/rooms/${room}/send/m.room.message/${(sent += 1)}`;
    const body = { msgtype: "m.text", body: `message ${sent}` };
    return (await server.api(alice.access_token, "PUT", path, body)).event_id;
  }

  /** One request; resolves with its answer, or with nothing if the connection broke off. */
  async function sync(account, { since, timeout = 0, signal } = {}) {
    const query = new URLSearchParams({ timeout, ...(since && { since }) });
    const headers = { authorization: `Bearer ${account.access_token}` };
    const url = `${server.url}${v3}/sync?${query}`;
    try {
      const response = await fetch(url, { headers, signal, dispatcher: agent });
      const text = await response.text();
      assert.equal(response.status, 200, text);
      return JSON.parse(text);
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
      return undefined;
    }
  }

  /** A position behind which nothing is new, not even that bob is online. */
  async function settle(account) {
    let { next_batch: since } = await sync(account);
    for (;;) {
      const answer = await sync(account, { since, timeout: 300 });
      since = answer.next_batch;
      if (!answer.presence && !answer.rooms) return since;
    }
  }

  /** Syncs from `since` until the event comes. */
  async function follow(account, since, eventId) {
    for (let i = 0; i < 5; i += 1) {
      const answer = await sync(account, { since, timeout: 1_000 });
      if (has(answer, eventId)) return true;
      since = answer.next_batch;
    }
    return false;
  }

  function has(answer, eventId) {
    const { timeline } = answer?.rooms?.join?.[decodeURIComponent(room)] ?? {};
    return timeline?.events.some(({ event_id: id }) => id === eventId) ?? false;
  }

  it("are all woken on a hundred devices of one user", async () => {
    const login = () => server.login("bob");
    const sessions = [];
    while (sessions.length < devices) {
      sessions.push(...(await Promise.all(Array.from({ length: 10 }, login))));
    }
    const since = await settle(bob);
    const waits = sessions.map((each) => sync(each, { since, timeout: longPollMs }));
    await sleep(untilRegisteredMs);
    const eventId = await say();
    const answers = await Promise.all(waits);
    assert.equal(answers.filter((answer) => has(answer, eventId)).length, devices);
  });

  it("that are given up at once leave the others woken", async () => {
    const since = await settle(bob);
    const controller = new AbortController();
    const query = { since, timeout: longPollMs, signal: controller.signal };
    const givenUp = Array.from({ length: waiting }, () => sync(bob, query));
    await sleep(untilRegisteredMs);
    const stays = sync(bob, { since, timeout: longPollMs });
    await sleep(500);
    controller.abort();
    const eventId = await say();
    assert.ok((await Promise.all(givenUp)).every((answer) => answer === undefined));
    assert.ok(has(await stays, eventId));
    assert.ok(!server.log.includes("could not be woken"), server.log);
  });

  it("of a client that comes back in a storm are all answered", async () => {
    let since = await settle(bob);
    for (let round = 0; round < 5; round += 1) {
      const controller = new AbortController();
      const query = { since, timeout: longPollMs, signal: controller.signal };
      const storm = Array.from({ length: 50 }, () => sync(bob, query));
      await sleep(100);
      controller.abort();
      await Promise.all(storm);
    }
    const stays = sync(bob, { since, timeout: longPollMs });
    await sleep(500);
    const eventId = await say();
    const answer = await stays;
    assert.ok(has(answer, eventId));
    since = answer.next_batch;
    assert.equal((await sync(bob, { since })).rooms, undefined);
  });

  it("go on from where they were after the server was killed", async () => {
    const since = await settle(bob);
    const query = { since, timeout: longPollMs };
    const waits = Array.from({ length: waiting }, () => sync(bob, query));
    await sleep(untilRegisteredMs);
    const missed = say();
    await missed;
    await server.end("SIGKILL", { group: true });
    await Promise.all(waits);
    await server.start();
    const eventId = await say();
    const found = Array.from({ length: 20 }, () => follow(bob, since, eventId));
    assert.ok((await Promise.all(found)).every(Boolean));
    assert.ok(await follow(bob, since, await missed));
  });
});
