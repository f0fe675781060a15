// `npm run deploy`: checks the settings, creates the databases at LOCATION, deploys, and prints the
// link that makes the first account.
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { ensurePackages } from "./build/packages.mjs";
import { Complaint, fail, output, root, run, say } from "./run.mjs";

const wrangler = path.join(root, "node_modules/.bin/wrangler");
const regions = {
  weur: "gcp:europe-west1",
  eeur: "gcp:europe-central2",
  wnam: "gcp:us-west1",
  enam: "gcp:us-east4",
  apac: "gcp:asia-northeast1",
  oc: "gcp:australia-southeast1",
};
// A new domain needs a certificate before it answers.
const firstAnswerAttemptsMax = 24;
const attemptIntervalMs = 5000;

try {
  await ensurePackages();
  const { parse } = await import("smol-toml");
  const config = parse(fs.readFileSync(path.join(root, "wrangler.toml"), "utf8"));
  checkSettings(config);
  await ensureDatabases(config);
  const deployed = await deploy();
  const address = config.vars.PUBLIC_BASEURL || deployed;
  await offerFirstAccount(address);
} catch (error) {
  fail(error);
}

function checkSettings({ vars, placement }) {
  if (vars.SERVER_NAME === "example.org") {
    throw new Complaint("Set SERVER_NAME in wrangler.toml to the name of your server first.");
  }
  const region = regions[vars.LOCATION];
  if (!region) {
    throw new Complaint(`LOCATION in wrangler.toml is one of ${Object.keys(regions).join(", ")}.`);
  }
  if (placement.region !== region) {
    throw new Complaint(`In wrangler.toml, LOCATION ${vars.LOCATION} and placement do not agree: `
      + `set region = "${region}".`);
  }
}

/** `wrangler deploy` would create the databases as well, but wherever it is run. */
async function ensureDatabases({ d1_databases: databases, vars }) {
  const list = output(wrangler, ["d1", "list", "--json"]);
  if (list === undefined) {
    throw new Complaint("Cloudflare does not know you: run `npx wrangler login` first.");
  }
  const known = new Set(JSON.parse(list).map((database) => database.name));
  const missing = databases.map((database) => database.database_name).filter((n) => !known.has(n));
  for (const name of missing) {
    say(`Creating the database ${name} in ${vars.LOCATION}`);
    await run(wrangler, ["d1", "create", name, "--location", vars.LOCATION, "--no-update-config"]);
  }
}

/** Resolves with the address at which the Worker answers. */
async function deploy() {
  const report = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "myelin-deploy-")), "report");
  say("Deploying");
  await run(wrangler, ["deploy"], { env: { WRANGLER_OUTPUT_FILE_PATH: report } });
  const lines = fs.readFileSync(report, "utf8").trim().split("\n");
  const deployed = lines.map((line) => JSON.parse(line)).find(({ type }) => type === "deploy");
  const target = deployed?.targets?.find((text) => !/^(schedule|cron)/.test(text));
  if (!target) throw new Complaint("wrangler did not say at which address the Worker answers.");
  const host = target.replace(/^https?:\/\//, "").split(/[\s/]/)[0];
  return `https://${host}`;
}

async function offerFirstAccount(address) {
  say(`Waiting for ${address}`);
  if (!(await isSetupNeeded(address))) return say(`Deployed: ${address}`);
  const token = randomBytes(24).toString("base64url");
  const put = spawnSync(wrangler, ["secret", "put", "SETUP_TOKEN"], {
    cwd: root,
    input: token,
    stdio: ["pipe", "inherit", "inherit"],
  });
  if (put.status !== 0) throw new Complaint("The secret SETUP_TOKEN could not be set.");
  console.log(`\nMyelin is deployed at ${address}`);
  console.log(`  First account   ${address}/setup/?token=${token}\n`);
}

async function isSetupNeeded(address) {
  for (let attempt = 1; ; attempt += 1) {
    const answer = await fetch(`${address}/_myelin/setup`).catch(() => undefined);
    if (answer?.ok) return (await answer.json()).needed;
    if (attempt === firstAnswerAttemptsMax) {
      throw new Complaint(`${address} does not answer yet: run \`npm run deploy\` again later.`);
    }
    await wait(attemptIntervalMs);
  }
}
