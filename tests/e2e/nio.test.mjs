// matrix-nio, which most Python bots are built on: two people talk, across a restart.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import readline from "node:readline";
import { test } from "node:test";
import { root, startServer } from "./harness.mjs";

const nioVersion = "0.26.0";

/** The python of a virtual environment that has the library, made once per version and user. */
function ensurePython() {
  const cache = process.env.XDG_CACHE_HOME || path.join(os.homedir(), ".cache");
  const folder = path.join(cache, "myelin", `matrix-nio-${nioVersion}`);
  const python = path.join(folder, "bin/python");
  const stamp = path.join(folder, "installed");
  if (fs.existsSync(stamp)) return python;
  const found = spawnSync("python3", ["--version"]);
  assert.equal(found.status, 0, "python3 is missing: install Python 3.9 or newer with its venv.");
  fs.rmSync(folder, { recursive: true, force: true });
  mustRun("python3", ["-m", "venv", folder]);
  const install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
  mustRun(python, [...install, `matrix-nio==${nioVersion}`]);
  fs.writeFileSync(stamp, "");
  return python;
}

function mustRun(command, args) {
  const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
  assert.equal(status, 0, `${command} ${args.join(" ")}:\n${stderr}`);
}

test("two people talk with matrix-nio, across a restart of the server", async (t) => {
  const python = ensurePython();
  const server = await startServer();
  t.after(() => server.stop());
  const client = spawn(python, [path.join(root, "tests/e2e/nio_client.py"), server.url], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  t.after(() => client.kill());
  const exit = once(client, "close");
  let complaints = "";
  client.stderr.on("data", (data) => (complaints += data));
  const requests = [];
  let restarts = 0;
  for await (const line of readline.createInterface({ input: client.stdout })) {
    const { request, restart } = JSON.parse(line);
    if (request) requests.push(request);
    if (restart) {
      await server.restart();
      restarts += 1;
      client.stdin.write("restarted\n");
    }
  }
  const [code] = await exit;
  const errors = requests.filter(({ status }) => status >= 400);
  assert.deepEqual(errors, []);
  assert.equal(code, 0, complaints);
  assert.equal(restarts, 1);
  assert.ok(requests.length > 30, `${requests.length} requests`);
});
