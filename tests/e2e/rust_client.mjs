// Clients on the Matrix Rust SDK, which Element X is built on: one process for each device, driven
// by lines of JSON (tests/e2e/rust-client). What the server answers them is noted on the way.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import readline from "node:readline";
import { temporaryFolder } from "./harness.mjs";
import { rustClientFile } from "../../scripts/build/rust_client.mjs";

const waitMs = 40_000;

/** A proxy before the server that notes each answer: `{ url, answers }`. */
export async function startWitness(t, server) {
  const answers = [];
  const proxy = http.createServer((request, response) => {
    const { hostname, port } = new URL(server.url);
    const { method, url: path, headers } = request;
    const onward = http.request({ hostname, port, path, method, headers }, (answer) => {
      const noted = { method, path, status: answer.statusCode, body: "" };
      answers.push(noted);
      if (answer.statusCode >= 400) answer.on("data", (data) => (noted.body += data));
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    // A server that is away looks like one to the client, too.
    onward.once("error", () => response.destroy());
    response.once("close", () => onward.destroy());
    request.pipe(onward);
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  t.after(() => {
    proxy.close();
    proxy.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${proxy.address().port}`, answers };
}

export class RustClient {
  #child;
  #calls = new Map();
  #last = 0;
  /** Warnings and errors of the library: `{ level, target, text }`. */
  log = [];

  constructor(t, name) {
    this.name = name;
    this.#child = spawn(rustClientFile(), [], { stdio: ["pipe", "pipe", "inherit"] });
    t.after(() => this.#child.kill());
    this.#child.once("close", (code) => this.#settleAll(new Error(`${name} ended (${code})`)));
    this.#child.once("error", (error) => this.#settleAll(error));
    const lines = readline.createInterface({ input: this.#child.stdout });
    lines.on("line", (line) => this.#read(JSON.parse(line)));
  }

  /** Runs a command (src/commands.rs there has them all); resolves with its result. */
  call(command, fields = {}) {
    const id = (this.#last += 1);
    this.#child.stdin.write(`${JSON.stringify({ id, command, ...fields })}\n`);
    return new Promise((resolve, reject) => {
      const what = `${this.name} ${command} ${JSON.stringify(fields)}`;
      const late = () => this.#settle(id, { error: "no answer" });
      this.#calls.set(id, { what, resolve, reject, timer: setTimeout(late, waitMs) });
    });
  }

  #read({ id, log, ...outcome }) {
    if (log) this.log.push(log);
    else this.#settle(id, outcome);
  }

  #settle(id, { result, error }) {
    const { what, resolve, reject, timer } = this.#calls.get(id) ?? {};
    if (!this.#calls.delete(id)) return;
    clearTimeout(timer);
    if (error === undefined) resolve(result);
    else reject(new Error(`${what}: ${error}\n${JSON.stringify(this.log, null, 1)}`));
  }

  #settleAll(error) {
    for (const id of this.#calls.keys()) this.#settle(id, { error: error.message });
  }
}

/** A client that is logged in and follows the server with the protocol `how`. */
export async function followWith(t, witness, name, how, password) {
  const client = new RustClient(t, `${name} (${how})`);
  const sliding = how !== "sync";
  const folder = temporaryFolder();
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const login = { url: witness.url, user: name, password, folder, sliding };
  const { user_id, device_id } = await client.call("login", login);
  Object.assign(client, { userId: user_id, deviceId: device_id });
  await client.call("follow", { how });
  return client;
}

/**
 * Answers with an error although all is well, as by a default Synapse: the library asks for these
 * to learn whether they are there.
 */
const expectedAnswers = [
  /^404 GET .*\/account_data\/m\.(secret_storage\.default_key|key_backup|org)/,
  /^404 GET .*\/account_data\/m\.org\.matrix\.custom\.backup_disabled/,
  /^404 \w+ .*\/keys\//,
];

/** What the library complains of although the server has done nothing wrong. */
const expectedComplaints = [
  // The answers themselves are looked at.
  /status_code: \d+/,
  // The server was away for its restart.
  /error sending request|Reqwest\(/,
  // A room that was joined, and of which no sync has told yet.
  /Unable to get the room version rules/,
  /Trying to backup room keys but no backup key was found/,
];

/** Nothing was answered with an error, and the library complains of nothing. */
export function assertContent({ answers }, clients) {
  const errors = answers
    .filter(({ status }) => status >= 400)
    .map(({ status, method, path, body }) => `${status} ${method} ${path} ${body}`);
  const isKnown = (error) => expectedAnswers.some((known) => known.test(error));
  assert.deepEqual(errors.filter((error) => !isKnown(error)), []);
  for (const { name, log } of clients) {
    const complaints = log.map(({ level, target, text }) => `${level} ${target} ${text}`);
    const isExpected = (complaint) => expectedComplaints.some((known) => known.test(complaint));
    assert.deepEqual(complaints.filter((complaint) => !isExpected(complaint)), [], name);
  }
}
