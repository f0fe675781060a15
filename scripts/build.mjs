// Builds the Worker with everything that this needs; also wrangler.toml's build command.
import { ensurePackages } from "./build/packages.mjs";
import { ensureWasm } from "./build/wasm.mjs";
import { fail, say } from "./run.mjs";

try {
  await ensurePackages();
  if (!(await ensureWasm())) say("The Worker is up to date");
} catch (error) {
  fail(error);
}
