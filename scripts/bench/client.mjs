// A Matrix client for measuring: every answer comes with its time and with what it cost, as
// `Server-Timing` of a server with DEVELOPMENT=true says it.
import { performance } from "node:perf_hooks";
import { Agent, request } from "undici";
import { Complaint } from "../run.mjs";

const v3 = "/_matrix/client/v3";
const password = "correct horse battery staple";
// A long poll is answered within its own timeout; anything else that takes so long is stuck.
const answerTimeoutMs = 120_000;

export const counters = ["d1", "rows-read", "rows-written", "hops"];

export class Client {
  #transactions = 0;
  #run = `${Date.now().toString(36)}${process.pid}`;
  #agent = new Agent({
    connections: 64,
    headersTimeout: answerTimeoutMs,
    bodyTimeout: answerTimeoutMs,
  });

  constructor(url) {
    this.url = url.replace(/\/$/, "");
  }

  /** Resolves with `{ body, ms, cost }`; anything but 200 is an error. */
  async request(method, path, { user, body, query = {} } = {}) {
    const search = new URLSearchParams(query).toString();
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    if (user) headers.authorization = `Bearer ${user.token}`;
    const started = performance.now();
    const answer = await request(`${this.url}${path}${search && `?${search}`}`, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      dispatcher: this.#agent,
    });
    const text = await answer.body.text();
    const ms = performance.now() - started;
    if (answer.statusCode !== 200) {
      throw new Complaint(`${method} ${path} answers ${answer.statusCode} ${text.slice(0, 200)}`);
    }
    return { body: JSON.parse(text), ms, bytes: text.length, cost: costOf(answer.headers) };
  }

  async register(name) {
    const auth = { type: "m.login.dummy" };
    const body = { username: `${name}-${this.#run}`, password, auth };
    return this.#withUser(await this.request("POST", `${v3}/register`, { body }));
  }

  async login(user) {
    const identifier = { type: "m.id.user", user: user.id };
    const body = { type: "m.login.password", identifier, password };
    return this.#withUser(await this.request("POST", `${v3}/login`, { body }));
  }

  #withUser(answer) {
    const { user_id: id, access_token: token, device_id: device } = answer.body;
    return { ...answer, user: { id, token, device } };
  }

  versions() {
    return this.request("GET", "/_matrix/client/versions");
  }

  whoami(user) {
    return this.request("GET", `${v3}/account/whoami`, { user });
  }

  async createRoom(user, body = { preset: "public_chat" }) {
    const answer = await this.request("POST", `${v3}/createRoom`, { user, body });
    return { ...answer, room: answer.body.room_id };
  }

  join(user, room) {
    return this.request("POST", `${v3}/join/${encodeURIComponent(room)}`, { user, body: {} });
  }

  async send(user, room, text = "Hello, this is a message of an ordinary length.") {
    const transaction = `${this.#run}-${(this.#transactions += 1)}`;
    const path = `/send/m.room.message/${transaction}`;
    const body = { msgtype: "m.text", body: text };
    const answer = await this.request("PUT", this.#inRoom(room, path), { user, body });
    return { ...answer, eventId: answer.body.event_id };
  }

  wantNoNotifications(user) {
    const path = `${v3}/pushrules/global/override/.m.rule.master/enabled`;
    return this.request("PUT", path, { user, body: { enabled: true } });
  }

  sendState(user, room, type, body) {
    return this.request("PUT", this.#inRoom(room, `/state/${type}`), { user, body });
  }

  read(user, room, path, query) {
    return this.request("GET", this.#inRoom(room, path), { user, query });
  }

  joinedRooms(user) {
    return this.request("GET", `${v3}/joined_rooms`, { user });
  }

  /** `pos` may be left out: a new connection. */
  async slidingSync(user, body, pos) {
    const query = pos ? { pos } : {};
    const path = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";
    const answer = await this.request("POST", path, { user, body, query });
    return { ...answer, pos: answer.body.pos, told: Object.keys(answer.body.rooms).length };
  }

  /** `since` may be left out: an initial sync. */
  async sync(user, since, timeoutMs = 0) {
    const query = { timeout: timeoutMs, ...(since && { since }) };
    const answer = await this.request("GET", `${v3}/sync`, { user, query });
    return { ...answer, since: answer.body.next_batch };
  }

  /** Publishes identity keys and so many one-time keys, which no two uploads share. */
  uploadKeys(user, count) {
    const signatures = { [user.id]: { [`ed25519:${user.device}`]: "s".repeat(86) } };
    const keys = Object.fromEntries(["curve25519", "ed25519"].map((algorithm) =>
      [`${algorithm}:${user.device}`, "k".repeat(43)]));
    const algorithms = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"];
    const deviceKeys = { user_id: user.id, device_id: user.device, algorithms, keys, signatures };
    const oneTimeKeys = Object.fromEntries(Array.from({ length: count }, () =>
      [`signed_curve25519:${(this.#transactions += 1)}`, { key: "k".repeat(43), signatures }]));
    const body = { device_keys: deviceKeys, one_time_keys: oneTimeKeys };
    return this.request("POST", `${v3}/keys/upload`, { user, body });
  }

  queryKeys(user, of) {
    const body = { device_keys: Object.fromEntries(of.map(({ id }) => [id, []])) };
    return this.request("POST", `${v3}/keys/query`, { user, body });
  }

  claimKeys(user, of) {
    const wanted = of.map(({ id, device }) => [id, { [device]: "signed_curve25519" }]);
    const body = { one_time_keys: Object.fromEntries(wanted) };
    return this.request("POST", `${v3}/keys/claim`, { user, body });
  }

  sendToDevices(user, to, content) {
    const messages = Object.fromEntries(to.map(({ id, device }) => [id, { [device]: content }]));
    const path = `${v3}/sendToDevice/m.room.encrypted/${this.#run}-${(this.#transactions += 1)}`;
    return this.request("PUT", path, { user, body: { messages } });
  }

  #inRoom(room, path) {
    return `${v3}/rooms/${encodeURIComponent(room)}${path}`;
  }

  close() {
    return this.#agent.close();
  }
}

/** The event ids of a room's timeline in a sync's answer. */
export function timelineOf({ body }, room) {
  const events = body.rooms?.join?.[room]?.timeline?.events ?? [];
  return events.map((event) => event.event_id);
}

function costOf(headers) {
  const text = headers["server-timing"];
  if (!text) {
    throw new Complaint("The server does not say what it spends: start it with DEVELOPMENT=true.");
  }
  const entries = [...String(text).matchAll(/([\w-]+);desc="(\d+)"(?:;dur=(\d+))?/g)];
  return Object.fromEntries(entries.flatMap(([, name, count, ms]) =>
    [[name, Number(count)], ...(ms === undefined ? [] : [[`${name}-ms`, Number(ms)]])]));
}
