// Programs on other Matrix libraries: one process for each device. Each line of their input is a
// command in JSON, each line of their output an answer to one, or what their library complains of.
import { spawn } from "node:child_process";
import readline from "node:readline";

const waitMs = 40_000;

export class DrivenClient {
  #child;
  #calls = new Map();
  #last = 0;
  /** Warnings and errors of the library: `{ level, target, text }`. */
  log = [];

  constructor(t, name, program, args) {
    this.name = name;
    this.#child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
    t.after(() => this.#child.kill());
    this.#child.once("close", (code) => this.#settleAll(new Error(`${name} ended (${code})`)));
    this.#child.once("error", (error) => this.#settleAll(error));
    const lines = readline.createInterface({ input: this.#child.stdout });
    lines.on("line", (line) => this.#read(JSON.parse(line)));
  }

  /** Runs one of the program's commands; resolves with its result. */
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
