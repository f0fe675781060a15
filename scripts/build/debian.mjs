// Where rustup may not download the wasm target: Debian's compiler, and the standard library
// compiled from the source that Debian packages with it.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { Complaint, output, run, say } from "../run.mjs";

const packages = [
  "cargo-web",
  "lld-22",
  "rust-web-clippy",
  "rust-web-llvm",
  "rust-web-src",
  "rustc-web",
];

/** The variables that select Debian's Rust before any other. */
export function debianEnvironment() {
  return { PATH: `/usr/bin:${process.env.PATH}` };
}

export async function installDebianRust(target) {
  if (!hasDebianPackages()) {
    throw new Complaint(`Rust's ${target} target is missing: run \`rustup target add ${target}\`.`);
  }
  say("rustup could not; installing Debian's Rust instead");
  await installDebianPackages(packages);
  const env = debianEnvironment();
  say(`Compiling the standard library for ${target} (once on this machine, a minute)`);
  await compileStandardLibrary(target, env);
}

export function hasDebianPackages() {
  return output("apt-get", ["--version"]) !== undefined;
}

export async function installDebianPackages(names) {
  const env = { ...debianEnvironment(), DEBIAN_FRONTEND: "noninteractive" };
  await run("apt-get", ["update", "--quiet"], { env });
  await run("apt-get", ["install", "--yes", "--no-install-recommends", ...names], { env });
}

/** Builds an empty crate with std, and puts std where the compiler looks for it. */
async function compileStandardLibrary(target, env) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "myelin-std-"));
  fs.mkdirSync(path.join(folder, "src"));
  fs.writeFileSync(path.join(folder, "src/lib.rs"), "");
  const manifest = '[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2021"\n';
  fs.writeFileSync(path.join(folder, "Cargo.toml"), manifest);
  const args = ["build", "--release", "-Z", "build-std=std,panic_abort", "--target", target];
  const build = {
    ...env,
    CARGO_TARGET_DIR: path.join(folder, "target"),
    RUSTC_BOOTSTRAP: "1",
    RUSTFLAGS: "-Cembed-bitcode=yes",
  };
  await run("/usr/bin/cargo", args, { cwd: folder, env: build });

  const printed = ["--print", "target-libdir", "--target", target];
  const library = output("/usr/bin/rustc", printed, { env });
  fs.mkdirSync(library, { recursive: true });
  const compiled = path.join(folder, "target", target, "release/deps");
  for (const file of fs.readdirSync(compiled)) {
    if (!/\.(rlib|rmeta)$/.test(file) || file.startsWith("libempty")) continue;
    fs.copyFileSync(path.join(compiled, file), path.join(library, file));
  }
  fs.rmSync(folder, { recursive: true });
}
