// A local server of its own for a measurement, on a free port, with its data in memory where the
// machine has such a folder: a disk would be measured instead.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { Complaint, root } from "../run.mjs";

const memoryFolder = "/dev/shm";

export class BenchServer {
  #child;

  constructor(vars = {}) {
    const place = fs.existsSync(memoryFolder) ? memoryFolder : os.tmpdir();
    this.data = fs.mkdtempSync(path.join(place, "myelin-bench-"));
    this.vars = { DEVELOPMENT: "true", RATE_LIMITS: "off", REGISTRATION: "open", ...vars };
  }

  async start() {
    const args = ["--listen", "http://127.0.0.1:0", "--data", this.data];
    for (const [name, value] of Object.entries(this.vars)) args.push("--var", `${name}=${value}`);
    const script = path.join(root, "scripts/serve.mjs");
    this.#child = spawn(process.execPath, [script, ...args], { stdio: ["ignore", "pipe", 2] });
    const child = this.#child;
    process.once("exit", () => child.kill());
    const lines = readline.createInterface({ input: child.stdout });
    this.url = await new Promise((resolve, reject) => {
      lines.on("line", (line) => line.startsWith("ready ") && resolve(line.split(" ")[1]));
      child.once("exit", (code) => reject(new Complaint(`The server ended with ${code}.`)));
    });
    return this;
  }

  /** Keeps the data. */
  async end() {
    const exit = once(this.#child, "exit");
    this.#child.kill("SIGTERM");
    await exit;
  }

  async stop() {
    await this.end();
    fs.rmSync(this.data, { recursive: true });
  }

  /** Megabytes that the runtime under the Worker holds, with its database; Linux only. */
  runtimeMegabytes() {
    const children = fs.readdirSync("/proc").filter((name) => parentOf(name) === this.#child.pid);
    const resident = children.map((pid) => Number(statusOf(pid, "VmRSS") ?? 0));
    return Math.round(resident.reduce((sum, kilobytes) => sum + kilobytes, 0) / 1024);
  }
}

function parentOf(pid) {
  return /^\d+$/.test(pid) ? Number(statusOf(pid, "PPid")) : undefined;
}

function statusOf(pid, field) {
  try {
    const status = fs.readFileSync(`/proc/${pid}/status`, "utf8");
    return new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(status)?.[1];
  } catch {
    return undefined;
  }
}
