// A bridge: it is told of what people write to its users, and lets them answer.
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { test } from "node:test";
import { startServer } from "./harness.mjs";

const v3 = "/_matrix/client/v3";
const token = "token of the bridge";

/** A bridge that makes users when it is asked for them; `status` is what it answers to events. */
async function startBridge(t) {
  const bridge = { status: 200, events: [], waiting: [], transactions: [] };
  const service = http.createServer(async (request, response) => {
    const body = (await request.toArray()).join("");
    const [, , , , kind, id] = decodeURIComponent(request.url).split("/");
    let status = request.headers.authorization === "Bearer token of the server" ? 200 : 403;
    if (kind === "users") await bridge.makeUser(id);
    if (kind === "transactions") {
      status = bridge.status;
      bridge.transactions.push({ id, status });
      if (status === 200) bridge.events.push(...JSON.parse(body).events);
    }
    response.writeHead(status, { "content-type": "application/json" }).end("{}");
    bridge.waiting.splice(0).forEach((wake) => wake());
  });
  service.listen(0, "127.0.0.1");
  await once(service, "listening");
  t.after(() => service.close());
  t.after(() => service.closeAllConnections());
  const registration = {
    id: "bridge",
    url: `http://127.0.0.1:${service.address().port}`,
    as_token: token,
    hs_token: "token of the server",
    sender_localpart: "bridge",
    rate_limited: false,
    namespaces: { users: [{ exclusive: true, regex: "@_away_.*" }] },
  };
  bridge.vars = { APPLICATION_SERVICES: JSON.stringify([registration]) };
  bridge.until = async (isIt) => {
    for (;;) {
      const found = bridge.events.find(isIt);
      if (found) return found;
      await new Promise((resolve) => bridge.waiting.push(resolve));
    }
  };
  return bridge;
}

const isText = (body) => ({ content }) => content.body === body;

async function startTalk(t) {
  const bridge = await startBridge(t);
  const server = await startServer({ vars: bridge.vars });
  t.after(() => server.stop());
  const as = (userId, method, path, body) => {
    return server.api(token, method, `${path}?user_id=${encodeURIComponent(userId)}`, body);
  };
  bridge.makeUser = (userId) => server.api(token, "POST", `${v3}/register`, {
    type: "m.login.application_service",
    username: userId.slice(1).split(":")[0],
    inhibit_login: true,
  });
  const alice = await server.register("alice");
  const friend = "@_away_friend:test";
  const create = { preset: "private_chat", invite: [friend] };
  const created = await server.api(alice.access_token, "POST", `${v3}/createRoom`, create);
  const invited = await bridge.until(({ state_key: key }) => key === friend);
  assert.equal(invited.content.membership, "invite");
  const at = `${v3}/rooms/${encodeURIComponent(created.room_id)}`;
  await as(friend, "POST", `${at}/join`, {});
  let sent = 0;
  const say = (body) => server.api(
    alice.access_token, "PUT", `${at}/send/m.room.message/${sent++}`, { msgtype: "m.text", body },
  );
  return { bridge, server, as, alice, friend, at, say };
}

test("a bridge makes the user who is invited, hears what is said, and answers", async (t) => {
  const { bridge, server, as, alice, friend, at, say } = await startTalk(t);
  const saidAt = Date.now();
  const { event_id: eventId } = await say("hello out there");
  const heard = await bridge.until(isText("hello out there"));
  assert.deepEqual([heard.event_id, heard.sender], [eventId, "@alice:test"]);
  assert.ok(Date.now() - saidAt < 1000, `${Date.now() - saidAt} ms`);
  const answer = { msgtype: "m.text", body: "hello in there" };
  await as(friend, "PUT", `${at}/send/m.room.message/1`, answer);
  const page = await server.api(alice.access_token, "GET", `${at}/messages?dir=b&limit=1`);
  const [newest] = page.chunk;
  assert.deepEqual([newest.sender, newest.content.body], [friend, "hello in there"]);
});

test("a bridge that was away hears everything once and in order", async (t) => {
  const { bridge, server, say } = await startTalk(t);
  await say("before");
  await bridge.until(isText("before"));
  bridge.status = 502;
  for (const text of ["one", "two"]) await say(text);
  while (bridge.transactions.at(-1).status !== 502) {
    await new Promise((resolve) => bridge.waiting.push(resolve));
  }
  await server.restart();
  bridge.status = 200;
  await say("three");
  await bridge.until(isText("three"));
  const texts = bridge.events.map(({ content }) => content.body).filter(Boolean);
  assert.deepEqual(texts, ["before", "one", "two", "three"]);
});
