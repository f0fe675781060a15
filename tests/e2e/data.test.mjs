// What is kept: across a restart, and out of the server as SQL.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { startServer, temporaryFolder } from "./harness.mjs";

test("an account and its token outlive a restart", async (t) => {
  const server = await startServer();
  t.after(() => server.stop());
  const alice = await server.register("alice");
  await server.restart();
  const whoami = await server.api(alice.access_token, "GET", "/_matrix/client/v3/account/whoami");
  assert.equal(whoami.user_id, `@alice:${server.name}`);
});

test("wrangler exports the database, and sqlite3 reads what it exports", async (t) => {
  const server = await startServer();
  t.after(() => server.stop());
  await server.register("alice");
  await server.end();
  const folder = temporaryFolder();
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const file = path.join(folder, "export.sql");
  server.exportDatabase(file);
  const script = [
    "import sqlite3, sys",
    "database = sqlite3.connect(':memory:')",
    "database.executescript(open(sys.argv[1]).read())",
    "print(database.execute('SELECT name FROM users').fetchall())",
  ].join("\n");
  const { stdout, stderr } = spawnSync("python3", ["-c", script, file], { encoding: "utf8" });
  assert.equal(stdout.trim(), `[('@alice:${server.name}',)]`, stderr);
});
