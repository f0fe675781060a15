// `npm test`: the native tests, then the end-to-end tests against the real Worker.
// Arguments choose end-to-end files: `npm test -- tests/e2e/server.test.mjs` runs only that one.
import fs from "node:fs";
import path from "node:path";
import { ensureChromium } from "./build/chromium.mjs";
import { ensureNio } from "./build/nio.mjs";
import { ensurePackages } from "./build/packages.mjs";
import { ensureRustClient } from "./build/rust_client.mjs";
import { ensureWasm } from "./build/wasm.mjs";
import { fail, root, run, say } from "./run.mjs";

const testTimeoutMs = 180_000;

try {
  const chosen = process.argv.slice(2);
  await ensurePackages();
  if (chosen.length === 0) {
    say("Native tests");
    await run("cargo", ["test", "--workspace", "--quiet"]);
  }
  await ensureWasm();
  const files = chosen.length > 0 ? chosen : endToEndFiles();
  const usesNio = [imports("build/nio.mjs"), imports("./nio_device.mjs")];
  if (files.some((file) => usesNio.some((uses) => uses(file)))) await ensureNio();
  if (files.some(imports("./rust_client.mjs"))) await ensureRustClient();
  if (files.some(imports("./browser.mjs"))) await ensureChromium();
  say("End-to-end tests");
  await run(process.execPath, [
    "--test",
    "--test-reporter=spec",
    "--test-concurrency=2",
    `--test-timeout=${testTimeoutMs}`,
    ...files,
  ]);
} catch (error) {
  fail(error);
}

function endToEndFiles() {
  const folder = path.join(root, "tests/e2e");
  const names = fs.readdirSync(folder).filter((name) => name.endsWith(".test.mjs"));
  return names.sort().map((name) => path.join(folder, name));
}

function imports(module) {
  return (file) => fs.readFileSync(file, "utf8").includes(`${module}"`);
}
