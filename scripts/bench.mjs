// `npm run bench`: what each endpoint costs, in time, round trips, rows and hops, and whether the
// budgets hold. Without an address it starts a server of its own, with its data in memory.
import fs from "node:fs";
import { parseArgs } from "node:util";
import { ensurePackages } from "./build/packages.mjs";
import { ensureWasm } from "./build/wasm.mjs";
import { Complaint, fail, say } from "./run.mjs";

const help = `Usage: npm run bench -- [URL] [flags]

URL is a running server with DEVELOPMENT=true, RATE_LIMITS=off and REGISTRATION=open.

  --quick       a few samples of everything
  --memory      also fill a database with 1,000 rooms of 1,000 events, and look at the memory
  --idle        what one client costs a day that waits and is told nothing, and nothing else
  --flat        how syncs grow with rooms, events and the age of their since, and nothing else
  --json FILE   write what was measured
  --help`;

// What production adds to each call of the database and each hop.
const productionLatencyMs = "20";
// With that latency all requests reach the room during the first commit; without it, some come
// between two commits.
const commitsMax = { far: 3, near: 8 };

try {
  const { values: flags, positionals } = parseFlags();
  if (flags.help) console.log(help);
  else {
    await ensurePackages();
    if (positionals.length === 0) await ensureWasm();
    const broken = await bench(positionals[0], flags);
    process.exit(broken > 0 ? 1 : 0);
  }
} catch (error) {
  fail(error);
}

function parseFlags() {
  const options = { quick: { type: "boolean" }, memory: { type: "boolean" },
    idle: { type: "boolean" }, flat: { type: "boolean" }, json: { type: "string" },
    help: { type: "boolean" } };
  try {
    return parseArgs({ options, allowPositionals: true });
  } catch (error) {
    throw new Complaint(`${error.message} (--help lists the flags)`);
  }
}

/** Resolves with the number of budgets that are broken. */
async function bench(url, { quick, memory, idle, flat, json }) {
  const { BenchServer } = await import("./bench/server.mjs");
  const { printTable } = await import("./bench/report.mjs");
  const size = quick ? "quick" : "full";
  const result = { findings: [] };
  if (idle) {
    const { measureIdle } = await import("./bench/idle.mjs");
    const { Client } = await import("./bench/client.mjs");
    const count = async (address) => {
      const client = new Client(address);
      result.idle = [await measureIdle(client)];
      await client.close();
    };
    await (url ? count(url) : withServer(BenchServer, {}, count));
    printTable("One idle client, a day", result.idle);
  } else if (flat) {
    if (url) await compare(url, size, result);
    else await withServer(BenchServer, {}, (own) => compare(own, size, result));
    await addAge(size, result);
  } else if (url) await measure(url, size, "endpoints", commitsMax.near, result);
  else {
    await withServer(BenchServer, {}, (own) =>
      measure(own, size, "endpoints", commitsMax.near, result));
    await withServer(BenchServer, { LATENCY_MS: productionLatencyMs }, (own) =>
      measure(own, size, "endpoints_with_latency", commitsMax.far, result));
    await addAge(size, result);
  }
  if (memory) {
    const { measureMemory } = await import("./bench/memory.mjs");
    const measured = await measureMemory(size);
    result.memory = measured.rows;
    result.findings.push(...measured.findings);
    printTable("Memory, MB", measured.rows);
  }
  if (!idle) printTable("Budgets", result.findings);
  if (json) fs.writeFileSync(json, `${JSON.stringify(result, null, 1)}\n`);
  return result.findings.filter(({ holds }) => !holds).length;
}

async function withServer(BenchServer, vars, use) {
  const server = await new BenchServer(vars).start();
  try {
    await use(server.url);
  } finally {
    await server.stop();
  }
}

async function measure(url, size, name, commits, result) {
  const { Client } = await import("./bench/client.mjs");
  const { runScenario } = await import("./bench/scenario.mjs");
  const budgets = await import("./bench/budgets.mjs");
  const { printTable } = await import("./bench/report.mjs");
  const isFar = name !== "endpoints";
  const title = isFar ? `Endpoints, ${productionLatencyMs} ms for each call and hop` : "Endpoints";
  const client = new Client(url);
  say(title);
  result[name] = await runScenario(client, size);
  printTable(title, result[name]);
  say("Budgets");
  if (!isFar) {
    const sizes = size === "quick" ? { ...budgets.fullSizes, rooms: [10, 60] } : undefined;
    result.findings.push(...(await budgets.countAll(client, sizes)).list);
    await addFlat(client, size, result);
    const roomCount = size === "quick" ? 60 : 300;
    result.findings.push(...(await budgets.timeSendsUnderLoad(client, roomCount)).list);
  }
  const groups = (await budgets.countGroups(client, commits)).list;
  const where = isFar ? " (with latency)" : "";
  result.findings.push(...groups.map((each) => ({ ...each, budget: each.budget + where })));
  await client.close();
}

async function compare(url, size, result) {
  const { Client } = await import("./bench/client.mjs");
  const client = new Client(url);
  await addFlat(client, size, result);
  await client.close();
}

async function addFlat(client, size, result) {
  const { flatSizes, measureFlat } = await import("./bench/flat.mjs");
  const { printTable } = await import("./bench/report.mjs");
  const flat = await measureFlat(client, flatSizes[size]);
  result.flat = flat.times;
  result.findings.push(...flat.findings.list);
  printTable("Few and many", flat.times);
}

async function addAge(size, result) {
  const { measureAge } = await import("./bench/age.mjs");
  result.findings.push(...(await measureAge(size)));
}
