// Serves the Worker that is already built, in the foreground, until SIGINT or SIGTERM.
import { Complaint, fail } from "./run.mjs";
import { helpText, readSettings } from "./server/settings.mjs";

// A terminal and npm both pass Ctrl-C on, at the same moment; later, somebody is impatient.
const impatienceMs = 1000;

/** Serves until a signal; `announce(server)` is called when it is ready. */
export async function serve(settings, announce) {
  const { startServer } = await import("./server/server.mjs").catch((error) => {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    throw new Complaint("The npm packages are missing: run `npm ci`, or `npm start`.");
  });
  const server = await startServer(settings, fail);
  let endingSince;
  const end = async () => {
    if (endingSince !== undefined) {
      if (Date.now() - endingSince > impatienceMs) process.exit(1);
      return;
    }
    endingSince = Date.now();
    await server.stop().catch(fail);
    process.exit(0);
  };
  process.on("SIGINT", end);
  process.on("SIGTERM", end);
  await announce(server);
  console.log(`ready ${server.urls.join(" ")}`);
}

if (process.argv[1] === import.meta.filename) {
  try {
    const settings = readSettings(process.argv.slice(2), process.env);
    if (settings.help) console.log(helpText("node scripts/serve.mjs"));
    else await serve(settings, () => {});
  } catch (error) {
    fail(error);
  }
}
