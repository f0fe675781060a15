// What `wrangler deploy` would upload.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import zlib from "node:zlib";
import { root, temporaryFolder } from "./harness.mjs";

const uploadBytesMax = 3_000_000;

test("the Worker can be deployed, and is under 3 MB gzip", (t) => {
  const folder = temporaryFolder();
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const wrangler = path.join(root, "node_modules/.bin/wrangler");
  const made = spawnSync(wrangler, ["deploy", "--dry-run", "--outdir", folder], {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, CI: "true", WRANGLER_SEND_METRICS: "false" },
  });
  assert.equal(made.status, 0, made.stdout + made.stderr);
  for (const binding of ["env.DATABASE", "env.MEDIA", "env.ROOM", "env.SYNC_NOTIFIER"]) {
    assert.ok(made.stdout.includes(binding), `${binding} in\n${made.stdout}`);
  }
  const uploaded = fs.readdirSync(folder).filter((name) => /\.(js|wasm)$/.test(name));
  assert.ok(uploaded.some((name) => name.endsWith(".wasm")));
  const contents = uploaded.map((name) => fs.readFileSync(path.join(folder, name)));
  const bytes = zlib.gzipSync(Buffer.concat(contents)).length;
  t.diagnostic(`upload: ${bytes} bytes gzip`);
  assert.ok(bytes < uploadBytesMax, `${bytes} bytes gzip`);
});
