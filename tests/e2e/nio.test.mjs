// matrix-nio, which most Python bots are built on: two people talk, across a restart.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import readline from "node:readline";
import { test } from "node:test";
import { nioPython } from "../../scripts/build/nio.mjs";
import { root, startServer } from "./harness.mjs";

test("two people talk with matrix-nio, across a restart of the server", async (t) => {
  const server = await startServer();
  t.after(() => server.stop());
  const client = spawn(nioPython, [path.join(root, "tests/e2e/nio_client.py"), server.url], {
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
