// Starts the real server on free ports, in a folder of its own, and speaks to it in raw HTTP.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { fileURLToPath } from "node:url";

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const serveScript = path.join(root, "scripts/serve.mjs");

/** What tests want of a server unless they say otherwise. */
const testVars = {
  REGISTRATION: "open",
  RATE_LIMITS: "off",
  BCRYPT_ROUNDS: "4",
  ALLOW_GUESTS: "true",
};

/** A new folder in memory, where there is one: the disk would dominate every measurement. */
export function temporaryFolder() {
  const memory = "/dev/shm";
  const place = fs.existsSync(memory) ? memory : os.tmpdir();
  return fs.mkdtempSync(path.join(place, "myelin-test-"));
}

/** Files `key` and `certificate` of a self-signed certificate, for the length of test `t`. */
export function makeCertificate(t, subjectAltName) {
  const folder = temporaryFolder();
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const [key, certificate] = ["key.pem", "cert.pem"].map((name) => path.join(folder, name));
  const made = spawnSync("openssl", [
    ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split(" "),
    ...["-subj", "/CN=test", "-addext", `subjectAltName=${subjectAltName}`],
    ...["-keyout", key, "-out", certificate],
  ]);
  if (made.status !== 0) throw new Error(`openssl: ${made.stderr}`);
  return { key, certificate };
}

/**
 * A started server. `vars` are variables of wrangler.toml, `env` the process's environment, `args`
 * more flags. Stop it with `await server.stop()`, which also removes its data.
 */
export async function startServer({ vars = {}, env = {}, args = [], serverName = "test" } = {}) {
  const server = new Server({ vars: { ...testVars, ...vars }, env, args, serverName });
  await server.start();
  return server;
}

// A test run that is interrupted must not leave servers behind.
const running = new Set();
process.on("exit", () => running.forEach((child) => process.kill(-child.pid, "SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

export class Server {
  #options;
  #child;
  #listen = "http://127.0.0.1:0";
  #folder = temporaryFolder();
  /** Everything that the process has written. */
  log = "";

  constructor(options) {
    this.#options = options;
  }

  get dataFolder() {
    return this.#folder;
  }

  get name() {
    return this.#options.serverName;
  }

  async start() {
    const { vars, env, args, serverName } = this.#options;
    const flags = ["--server-name", serverName, "--listen", this.#listen, "--data", this.#folder];
    for (const [name, value] of Object.entries(vars)) flags.push("--var", `${name}=${value}`);
    this.#child = spawn(process.execPath, [serveScript, ...flags, ...args], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    const child = this.#child;
    running.add(child);
    child.once("exit", () => running.delete(child));
    this.urls = await this.#ready();
    this.url = this.urls[0];
    this.#listen = this.url;
  }

  /** Resolves with the addresses of the "ready" line; rejects with the log if none comes. */
  #ready() {
    const child = this.#child;
    return new Promise((resolve, reject) => {
      for (const stream of [child.stdout, child.stderr]) {
        readline.createInterface({ input: stream }).on("line", (line) => {
          this.log += `${line}\n`;
          if (line.startsWith("ready ")) resolve(line.split(" ").slice(1));
        });
      }
      child.once("close", (code) => reject(new Error(`The server ended (${code}):\n${this.log}`)));
    });
  }

  /**
   * Ends the process in an orderly way and keeps the data; resolves with its exit code. `group`
   * sends the signal to its children as well and once more, as a terminal and npm do together.
   */
  async end(signal = "SIGTERM", { group = false } = {}) {
    if (this.#child.exitCode !== null) return this.#child.exitCode;
    const exit = once(this.#child, "exit");
    if (group) process.kill(-this.#child.pid, signal);
    this.#child.kill(signal);
    const [code] = await exit;
    return code;
  }

  /** How many files and connections the process has open; `undefined` where nobody can tell. */
  openFiles() {
    const folder = `/proc/${this.#child.pid}/fd`;
    return fs.existsSync(folder) ? fs.readdirSync(folder).length : undefined;
  }

  /** Whether any process of this server is left. */
  isAlive() {
    try {
      return process.kill(-this.#child.pid, 0);
    } catch {
      return false;
    }
  }

  /** Writes the database of an ended server to `file` as SQL, with wrangler. */
  exportDatabase(file) {
    const folder = temporaryFolder();
    fs.copyFileSync(path.join(root, "wrangler.toml"), path.join(folder, "wrangler.toml"));
    fs.mkdirSync(path.join(folder, ".wrangler"));
    fs.symlinkSync(this.#folder, path.join(folder, ".wrangler/state"));
    const wrangler = path.join(root, "node_modules/.bin/wrangler");
    const args = ["--cwd", folder, "d1", "export", "DATABASE", "--local", "--output", file];
    const made = spawnSync(wrangler, args, { encoding: "utf8" });
    fs.rmSync(folder, { recursive: true });
    if (made.status !== 0) throw new Error(made.stdout + made.stderr);
  }

  async stop() {
    const code = await this.end();
    fs.rmSync(this.#folder, { recursive: true, force: true });
    return code;
  }

  /** The same server at the same address with the same data; `vars` replaces some variables. */
  async restart({ vars = {} } = {}) {
    await this.end();
    this.#options = { ...this.#options, vars: { ...this.#options.vars, ...vars } };
    await this.start();
  }

  /** A raw request: `{ status, headers, body }`, with JSON decoded. */
  async request(method, target, { token, body, headers = {} } = {}) {
    const json = body !== undefined && typeof body !== "string" && !ArrayBuffer.isView(body);
    const response = await fetch(`${this.url}${target}`, {
      method,
      redirect: "manual",
      headers: {
        ...(token && { authorization: `Bearer ${token}` }),
        ...(json && { "content-type": "application/json" }),
        ...headers,
      },
      body: json ? JSON.stringify(body) : body,
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: decode(response, text) };
  }

  /** A request that has to succeed; resolves with its decoded body. */
  async api(token, method, target, body) {
    const answer = await this.request(method, target, { token, body });
    if (answer.status === 200) return answer.body;
    throw new Error(`${method} ${target}: ${answer.status} ${JSON.stringify(answer.body)}`);
  }

  /** `{ user_id, access_token, device_id }` of a new account. */
  register(username, password = "a long passphrase") {
    return this.api(undefined, "POST", "/_matrix/client/v3/register", {
      auth: { type: "m.login.dummy" },
      username,
      password,
    });
  }

  login(user, password = "a long passphrase") {
    return this.api(undefined, "POST", "/_matrix/client/v3/login", {
      type: "m.login.password",
      identifier: { type: "m.id.user", user },
      password,
    });
  }
}

function decode(response, text) {
  return response.headers.get("content-type")?.startsWith("application/json")
    ? JSON.parse(text)
    : text;
}
