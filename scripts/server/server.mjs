// One local server: the built Worker under Miniflare, from its start to its clean end.
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { Miniflare } from "miniflare";
import { Agent, request } from "undici";
import { Complaint } from "../run.mjs";
import { schedule } from "./cron.mjs";
import { settleListeners } from "./listeners.mjs";
import { listenPlainly } from "./plain.mjs";
import { listenSecurely } from "./secure.mjs";
import { miniflareOptions, readConfiguration } from "./worker.mjs";

// What a deployed server has as secrets, so that wrangler.toml does not list it.
const secretNames = [
  "APPLICATION_SERVICES",
  "OLD_SIGNING_KEYS",
  "PASSWORD_PEPPER",
  "RECAPTCHA_PRIVATE_KEY",
  "REGISTRATION_SHARED_SECRET",
  "SETUP_TOKEN",
  "SIGNING_KEY",
  "TURN_SHARED_SECRET",
  "TURN_KEY_API_TOKEN",
];
const firstAnswerTimeoutMs = 30_000;
/** Where requests go on to. */
const innerListener = { scheme: "http", host: "127.0.0.1", port: 0 };

/**
 * Resolves once every listener answers. `onExit` is called if the server dies by itself.
 * The result has `urls`, `setupLink()` and `stop()`.
 */
export async function startServer(given, onExit) {
  const config = readConfiguration();
  const listeners = await settleListeners(given.listeners, given.tls);
  const [inner] = await settleListeners([innerListener]);
  const settings = { ...given, listeners, inner };
  fs.mkdirSync(settings.dataFolder, { recursive: true });
  const setupToken = keepSetupToken(settings.dataFolder);
  const vars = workerVars(config, settings, setupToken);

  let stopping = false;
  const miniflare = new Miniflare({
    ...miniflareOptions(config, settings, vars),
    handleRuntimeStdio(stdout, stderr) {
      stdout.pipe(process.stdout, { end: false });
      stderr.pipe(process.stderr, { end: false });
      stderr.once("close", () => stopping || onExit(new Complaint("workerd ended by itself.")));
    },
  });
  // Miniflare would end the process at once, in the middle of our own orderly end.
  for (const signal of ["SIGINT", "SIGTERM"]) process.removeAllListeners(signal);

  await miniflare.ready;
  const fronts = await Promise.all(listeners.map((listener) =>
    listener.scheme === "https"
      ? listenSecurely(listener, settings.tls, inner)
      : listenPlainly(listener, inner)));
  const urls = settings.listeners.map(({ url }) => url);
  await Promise.all(urls.map(waitForAnswer));
  const worker = await miniflare.getWorker();
  const stopCron = schedule(config.triggers.crons, (cron, scheduledTime) =>
    worker.scheduled({ cron, scheduledTime }).catch((error) => console.error(error)),
  );
  return {
    urls,
    setupLink: () => setupLink(urls[0], vars.PUBLIC_BASEURL, setupToken),
    async stop() {
      stopping = true;
      stopCron();
      fronts.forEach((front) => front.close());
      await miniflare.dispose();
    },
  };
}

function workerVars(config, settings, setupToken) {
  const known = new Set([...Object.keys(config.vars), ...secretNames]);
  const unknown = Object.keys(settings.vars).filter((name) => !known.has(name));
  if (unknown.length > 0) {
    throw new Complaint(`wrangler.toml has no variable ${unknown.join(", ")}.`);
  }
  const base = settings.listeners.find(({ scheme }) => scheme === "http") ?? settings.listeners[0];
  const vars = {
    ...config.vars,
    SERVER_NAME: settings.serverName ?? "localhost",
    PUBLIC_BASEURL: base.url,
    SETUP_TOKEN: setupToken,
    ...settings.vars,
  };
  if (settings.signingKey) vars.SIGNING_KEY = settings.signingKey;
  if (settings.registrationSharedSecret) {
    vars.REGISTRATION_SHARED_SECRET = settings.registrationSharedSecret;
  }
  return vars;
}

/** The token of the link that makes the first account; it stays the same until it is used. */
function keepSetupToken(dataFolder) {
  const file = path.join(dataFolder, "setup-token");
  if (!fs.existsSync(file)) {
    fs.writeFileSync(file, randomBytes(24).toString("base64url"), { mode: 0o600 });
  }
  return fs.readFileSync(file, "utf8").trim();
}

async function waitForAnswer(url) {
  const { statusCode, body } = await get(`${url}/_matrix/client/versions`);
  await body.dump();
  if (statusCode !== 200) throw new Complaint(`${url} answers its first request ${statusCode}.`);
}

async function setupLink(url, publicBase, token) {
  const { statusCode, body } = await get(`${url}/_myelin/setup`);
  const answer = statusCode === 200 ? await body.json() : await body.dump();
  return answer?.needed ? `${publicBase}/setup/?token=${token}` : undefined;
}

/** Our own address: its certificate need not be in the system's list. */
function get(url) {
  const dispatcher = new Agent({
    connect: { rejectUnauthorized: false },
    headersTimeout: firstAnswerTimeoutMs,
  });
  return request(url, { dispatcher });
}
