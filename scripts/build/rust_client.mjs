// The client on the Matrix Rust SDK that end-to-end tests drive. Its library takes minutes to
// compile, so that the program is kept in the user's cache folder, where every clone finds it.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { Complaint, output, root, run, say } from "../run.mjs";
import { cacheFolder } from "./tools.mjs";

const folder = path.join(root, "tests/e2e/rust-client");

/** Where the program of these sources is, or will be. */
export function rustClientFile() {
  const version = hash(["Cargo.toml", "Cargo.lock", ...sources()]);
  return path.join(cacheFolder(), `rust-client-${version}`);
}

export async function ensureRustClient() {
  const file = rustClientFile();
  if (fs.existsSync(file)) return;
  if (output("cargo", ["--version"]) === undefined) {
    throw new Complaint("Rust is missing: install it with rustup, as https://rustup.rs explains.");
  }
  say("Compiling the tests' client on the Matrix Rust SDK (once on this machine, some minutes)");
  const target = path.join(process.env.CARGO_TARGET_DIR ?? `${root}/target`, "rust-client");
  const args = ["build", "--release", "--locked", "--manifest-path", `${folder}/Cargo.toml`];
  await run("cargo", args, { env: { CARGO_TARGET_DIR: target } });
  fs.mkdirSync(cacheFolder(), { recursive: true });
  // Renamed when it is whole: another run may be waiting for it.
  fs.copyFileSync(path.join(target, "release/rust-client"), `${file}.${process.pid}`);
  fs.renameSync(`${file}.${process.pid}`, file);
}

function sources() {
  return fs.readdirSync(path.join(folder, "src")).sort().map((name) => `src/${name}`);
}

function hash(files) {
  const made = createHash("sha256");
  for (const file of files) made.update(`${file}\0`).update(fs.readFileSync(`${folder}/${file}`));
  return made.digest("hex").slice(0, 16);
}
