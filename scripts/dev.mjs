// `npm run dev`: the local server, built and started again after each change of a source.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { ensurePackages } from "./build/packages.mjs";
import { ensureWasm } from "./build/wasm.mjs";
import { fail, root, say } from "./run.mjs";

// An editor writes several files at a time.
const quietMs = 200;
const watched = ["src", "scripts/server", "Cargo.toml", "schema.sql", "wrangler.toml"];

let server;
let ending = false;

try {
  await ensurePackages();
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, end);
  while (!ending) {
    const change = nextChange();
    await restart();
    say(`${await change} changed`);
  }
} catch (error) {
  fail(error);
}

/** A build that fails is shown, and the server of the last good one goes on. */
async function restart() {
  try {
    await ensureWasm();
  } catch (error) {
    return console.error(`error: ${error.message}`);
  }
  await stop();
  const args = [path.join(root, "scripts/serve.mjs"), ...process.argv.slice(2)];
  const env = { MYELIN_VAR_DEVELOPMENT: "true", ...process.env };
  server = spawn(process.execPath, args, { stdio: "inherit", env });
}

async function stop() {
  if (!server || server.exitCode !== null || server.signalCode !== null) return;
  const exit = once(server, "exit");
  server.kill("SIGTERM");
  await exit;
}

async function end() {
  ending = true;
  await stop();
  process.exit(0);
}

/** The first file that changes from now on, told when all is quiet again. */
function nextChange() {
  return new Promise((resolve) => {
    let timer;
    const existing = watched.map((name) => path.join(root, name)).filter(fs.existsSync);
    const watchers = existing.map((place) =>
      fs.watch(place, { recursive: fs.statSync(place).isDirectory() }, (_, name) => {
        clearTimeout(timer);
        timer = setTimeout(() => {
          for (const watcher of watchers) watcher.close();
          resolve(name ?? path.basename(place));
        }, quietMs);
      }),
    );
  });
}
