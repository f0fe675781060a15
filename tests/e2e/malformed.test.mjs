// Some thousand requests that no client should send, over real HTTP: none is the server's fault.
import assert from "node:assert/strict";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { after, before, test } from "node:test";
import { root, startServer } from "./harness.mjs";

const requestsPerPath = 16;
const parallel = 8;
const routes = fs
  .readFileSync(path.join(root, "tests/snapshots/routes.txt"), "utf8")
  .trim()
  .split("\n")
  .map((line) => line.split(" "));
const methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "REPORT"];

// mulberry32: the same requests in every run.
let state = 20_000;
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
}
const pick = (list) => list[Math.floor(random() * list.length)];
const nest = (depth, open, close) => open.repeat(depth) + close.repeat(depth);

let server;
let alice;
let room;
let agent;

before(async () => {
  server = await startServer();
  await settle();
  agent = new http.Agent({ keepAlive: true, maxSockets: parallel });
});

after(async () => {
  agent.destroy();
  await server.stop();
});

/** Somebody with a room; made anew after a request has ended the session. */
async function settle() {
  alice = await server.register(`somebody${Math.floor(random() * 2 ** 32)}`);
  room = await server.api(alice.access_token, "POST", "/_matrix/client/v3/createRoom", {});
}

/** Arguments of a path, already in the form in which they are sent. */
function argument(name) {
  const fitting = { "{room_id}": room.room_id, "{user_id}": alice.user_id };
  return pick([
    encodeURIComponent(fitting[name] ?? "1"),
    encodeURIComponent(fitting[name] ?? "m.room.message"),
    encodeURIComponent(fitting[name] ?? "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    "",
    "%",
    "%zz",
    "%00",
    "%ff%fe",
    "%2F%2e%2e%2F",
    "%F0%9F%90%89",
    "!unknown:test",
    "@unknown:elsewhere.test",
    "%23alias:test",
    "@".repeat(300),
    "{room_id}",
    "18446744073709551616",
    "a%2Bb+c;d=e",
  ]);
}

function query() {
  const values = ["", "1", "-1", "1e400", "9".repeat(30), "%ff", "%", "[]", "true", "b", "%00"];
  const names = ["limit", "from", "to", "since", "at", "dir", "filter", "ts", "timeout"];
  const more = ["membership", "room_id", "full_state", "set_presence", "server", "via", "%ff", ""];
  const pairs = Array.from({ length: Math.floor(random() * 5) }, () =>
    `${pick([...names, ...more])}=${pick(values)}`);
  // A request that waits is no mistake, but waits.
  return pairs.length ? `?${pairs.join("&")}&timeout=0` : "?timeout=0";
}

const bodies = [
  "",
  "{",
  "null",
  "[]",
  '"text"',
  "1e400",
  "-0",
  "{}{}",
  '{"a":1,"a":2}',
  '{"\\ud800": "\\udfff"}',
  "\u0000",
  "\ufeff{}",
  nest(100_000, "[", "]"),
  nest(20_000, '{"a":', "}").replace("}", "1}"),
  nest(100, '{"content":', "}").replace("}", "1}"),
  Buffer.from([0x7b, 0xff, 0xfe, 0x7d]),
  Buffer.from([0x7b, 0x22, 0xc3, 0x28, 0x22, 0x3a, 0x31, 0x7d]),
];

/** An object of the specification's names with values of any shape. */
function oddObject(depth = 0) {
  const names = ["type", "content", "body", "msgtype", "user_id", "membership", "auth", "name"];
  const more = ["password", "identifier", "username", "preset", "invite", "initial_state", "topic"];
  const rest = ["room_version", "users", "events", "rooms", "timeline", "limit", "session"];
  const object = {};
  for (let left = Math.floor(random() * 5); left >= 0; left -= 1) {
    object[pick([...names, ...more, ...rest, "__proto__x", "\u0000"])] = oddValue(depth + 1);
  }
  return object;
}

function oddValue(depth) {
  const numbers = [0, -1, 1.5, 2 ** 53, 2 ** 63, 1e308];
  const texts = ["", "x".repeat(70_000), "\u0000", "\ud800", alice.user_id, room.room_id, "m.text"];
  const leaf = () => pick([null, true, [], {}, ...numbers, ...texts]);
  if (depth > 3 || random() < 0.6) return leaf();
  return random() < 0.5 ? [leaf(), oddObject(depth)] : oddObject(depth);
}

function headers() {
  const { access_token: token } = alice;
  const odd = ["", "Bearer", "Bearer ", "bearer x", "Basic eA==", `Bearer ${token}x`, `x ${token}`];
  const chosen = random() < 0.75 ? `Bearer ${token}` : pick([...odd, "\u00ff\u00fe", undefined]);
  const type = pick(["application/json", "application/json", "text/plain", "", "\u00ff"]);
  return { "content-type": type, ...(chosen !== undefined && { authorization: chosen }) };
}

function oddRequest([routeMethod, pattern]) {
  const method = random() < 0.8 ? routeMethod : pick(methods);
  const segments = pattern.split("/");
  const target = segments.map((s) => (s.startsWith("{") ? argument(s) : s)).join("/");
  const tail = pick(["", "", "", "", "/", "//", "/x", ";x"]);
  const body = random() < 0.5 ? pick(bodies) : JSON.stringify(oddObject());
  return { method, target: target + tail + query(), headers: headers(), body };
}

function send({ method, target, headers, body }) {
  return new Promise((resolve, reject) => {
    const options = { agent, method, path: target, headers: { ...headers } };
    options.headers["content-length"] = Buffer.byteLength(body);
    const request = http.request(server.url, options, async (response) => {
      const text = (await response.toArray()).join("");
      resolve({ status: response.statusCode, type: response.headers["content-type"], text });
    });
    request.once("error", reject);
    request.end(body);
  });
}

/** What is wrong with an answer, or undefined. */
function faultOf(answer, { method }) {
  if (answer.status >= 500) return "the server's fault";
  if (answer.status < 400 || method === "HEAD") return undefined;
  let body;
  try {
    body = JSON.parse(answer.text);
  } catch {
    return "an error that is not JSON";
  }
  if (typeof body.errcode === "string") return undefined;
  const asksForProof = answer.status === 401 && Array.isArray(body.flows);
  return asksForProof ? undefined : "an error without errcode";
}

test("no malformed request is the server's fault", async (t) => {
  const queue = Array.from({ length: requestsPerPath }, () => routes).flat();
  const faults = [];
  const statuses = {};
  const work = async () => {
    for (let route = queue.pop(); route; route = queue.pop()) {
      const request = oddRequest(route);
      const answer = await send(request).catch((error) => ({ status: 599, text: `${error}` }));
      statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
      const fault = faultOf(answer, request);
      if (fault) faults.push({ fault, ...request, body: `${request.body}`.slice(0, 300), answer });
      const own = request.headers.authorization === `Bearer ${alice.access_token}`;
      if (own && answer.text.includes("M_UNKNOWN_TOKEN")) await settle();
    }
  };
  await Promise.all(Array.from({ length: parallel }, work));
  t.diagnostic(`answers: ${JSON.stringify(statuses)}`);
  assert.deepEqual(faults, []);
  assert.ok(statuses[200] > 100, "most requests never reached an endpoint");
  await settle();
  const target = `/_matrix/client/v3/rooms/${room.room_id}/send/m.room.message/1`;
  const sent = await server.api(alice.access_token, "PUT", target, { body: "alive" });
  assert.match(sent.event_id, /^\$/);
});
