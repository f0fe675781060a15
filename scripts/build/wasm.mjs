// Builds the Worker (build/index.js, build/index_bg.wasm) unless it is up to date already.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import zlib from "node:zlib";
import { root, run, say } from "../run.mjs";
import { ensureTools } from "./tools.mjs";

export const buildFolder = path.join(root, "build");
const stampFile = path.join(buildFolder, ".sources");
const sources = ["Cargo.toml", "Cargo.lock", ".cargo", "src", "schema.sql"];

/** Returns whether anything had to be built. */
export async function ensureWasm() {
  const fingerprint = fingerprintOf(sources.map((name) => path.join(root, name)));
  if (builtFrom() === fingerprint) return false;
  const env = await ensureTools();
  say("Building the Worker");
  await run(env.WORKER_BUILD_BIN, ["--release"], { env });
  fs.writeFileSync(stampFile, fingerprint);
  say(`Built: ${describeSize()}`);
  return true;
}

function builtFrom() {
  const files = ["index.js", "index_bg.wasm"].map((name) => path.join(buildFolder, name));
  if (![...files, stampFile].every((file) => fs.existsSync(file))) return undefined;
  return fs.readFileSync(stampFile, "utf8");
}

function fingerprintOf(places) {
  const hash = createHash("sha256");
  for (const file of places.flatMap(filesIn)) {
    hash.update(`${path.relative(root, file)}\n`).update(fs.readFileSync(file)).update("\n");
  }
  return hash.digest("hex");
}

function filesIn(place) {
  if (!fs.existsSync(place)) return [];
  if (fs.statSync(place).isFile()) return [place];
  return fs
    .readdirSync(place)
    .sort()
    .flatMap((name) => filesIn(path.join(place, name)));
}

function describeSize() {
  const wasm = fs.readFileSync(path.join(buildFolder, "index_bg.wasm"));
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(2)} MB`;
  return `${megabytes(wasm.length)} of wasm, ${megabytes(zlib.gzipSync(wasm).length)} gzip`;
}
