// `npm start`: from a fresh clone to a running homeserver.
import { ensurePackages } from "./build/packages.mjs";
import { ensureWasm } from "./build/wasm.mjs";
import { fail } from "./run.mjs";
import { serve } from "./serve.mjs";
import { helpText, readSettings } from "./server/settings.mjs";

async function announce(server) {
  const link = await server.setupLink();
  console.log(`\nMyelin serves Matrix at ${server.urls[0]}\n`);
  console.log("  Client          any Matrix client: choose another homeserver, enter that address");
  if (link) console.log(`  First account   ${link}`);
  console.log("  More accounts   npm start -- --var REGISTRATION=open lets everyone register");
  console.log("  End             Ctrl-C; everything is kept\n");
}

try {
  const settings = readSettings(process.argv.slice(2), process.env);
  if (settings.help) console.log(helpText("npm start --"));
  else {
    await ensurePackages();
    await ensureWasm();
    await serve(settings, announce);
  }
} catch (error) {
  fail(error);
}
