// `npm run check`: formatting, lints and syntax, for both targets; compiles all the tests.
import fs from "node:fs";
import path from "node:path";
import { ensurePackages } from "./build/packages.mjs";
import { ensureRust } from "./build/tools.mjs";
import { fail, root, run, say } from "./run.mjs";

const lints = ["--", "-D", "warnings"];

try {
  await ensurePackages();
  const wasmRust = await ensureRust();
  say("rustfmt");
  await run("cargo", ["fmt", "--all", "--check"]);
  const client = path.join(root, "tests/e2e/rust-client/Cargo.toml");
  await run("cargo", ["fmt", "--check", "--manifest-path", client]);
  say("clippy");
  await run("cargo", ["clippy", "--workspace", "--all-targets", "--quiet", ...lints]);
  say("clippy, wasm");
  const wasm = ["--lib", "--target", "wasm32-unknown-unknown"];
  await run("cargo", ["clippy", ...wasm, "--quiet", ...lints], { env: wasmRust });
  say("JavaScript");
  for (const file of ["scripts", "tests", "www"].flatMap(javaScriptIn)) {
    await run(process.execPath, ["--check", file]);
  }
} catch (error) {
  fail(error);
}

function javaScriptIn(folder) {
  return fs
    .readdirSync(path.join(root, folder), { recursive: true })
    .filter((name) => /\.m?js$/.test(name) && !name.includes("node_modules"))
    .map((name) => path.join(root, folder, name));
}
