// The programs that turn Rust into a Worker. What has to be compiled is compiled once per version
// and kept in the user's cache folder, where every clone finds it.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { Complaint, output, root, run, say } from "../run.mjs";
import { debianEnvironment, installDebianRust } from "./debian.mjs";

const target = "wasm32-unknown-unknown";

/** Makes every tool available; returns the environment that worker-build needs to find them. */
export async function ensureTools() {
  const rust = await ensureRust();
  const bindgen = await ensureCargoTool("wasm-bindgen-cli", "wasm-bindgen", "wasm-bindgen");
  const workerBuild = await ensureCargoTool("worker-build", "worker-build", "worker");
  const bin = path.join(root, "node_modules/.bin");
  return {
    ...rust,
    WASM_BINDGEN_BIN: bindgen,
    WASM_OPT_BIN: path.join(bin, "wasm-opt"),
    ESBUILD_BIN: path.join(bin, "esbuild"),
    WORKER_BUILD_BIN: workerBuild,
  };
}

/** Cargo and the wasm target; returns the variables that select a Rust which has it. */
export async function ensureRust() {
  if (output("cargo", ["--version"]) === undefined) {
    throw new Complaint("Rust is missing: install it with rustup, as https://rustup.rs explains.");
  }
  if (hasStandardLibrary("rustc")) return {};
  say(`Adding Rust's ${target} target`);
  const added = await run("rustup", ["target", "add", target]).then(
    () => true,
    () => false,
  );
  if (added) return {};
  if (!hasStandardLibrary("/usr/bin/rustc")) await installDebianRust(target);
  return debianEnvironment();
}

function hasStandardLibrary(rustc) {
  const folder = output(rustc, ["--print", "target-libdir", "--target", target]);
  return (
    folder !== undefined &&
    fs.existsSync(folder) &&
    fs.readdirSync(folder).some((file) => /^libstd-.*\.rlib$/.test(file))
  );
}

/** Installs `crate` in Cargo.lock's version of `lockedAs`; returns the path of `program`. */
async function ensureCargoTool(crate, program, lockedAs) {
  const version = lockedVersion(lockedAs);
  const folder = path.join(cacheFolder(), `${program}-${version}`);
  const file = path.join(folder, "bin", program);
  if (fs.existsSync(file)) return file;
  say(`Compiling ${crate} ${version} (once on this machine, some minutes)`);
  const args = ["install", crate, "--version", version, "--root", folder];
  // A crate in its lock file may have been withdrawn since.
  await run("cargo", [...args, "--locked"]).catch(() => run("cargo", args));
  return file;
}

function lockedVersion(crate) {
  const lock = fs.readFileSync(path.join(root, "Cargo.lock"), "utf8");
  const found = new RegExp(`name = "${crate}"\\nversion = "([^"]+)"`).exec(lock);
  if (!found) throw new Complaint(`Cargo.lock does not have the crate ${crate}.`);
  return found[1];
}

/** What is compiled or installed once on a machine. */
export function cacheFolder() {
  return path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), ".cache"), "myelin");
}
