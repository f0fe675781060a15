// The memory of the Worker over a large database: 1,000 rooms of 1,000 events, and one room with
// 10,000 members. What is measured is the wasm's memory, in which the Worker and all the objects
// of the isolate keep what they have, and the whole local runtime, with the database in it.
import fs from "node:fs";
import path from "node:path";
import { run, root, say } from "../run.mjs";
import { createRooms, Findings } from "./budgets.mjs";
import { Client } from "./client.mjs";
import { round } from "./report.mjs";
import { BenchServer } from "./server.mjs";

const sizes = {
  full: { rooms: 1000, events: 1000, members: 10_000 },
  quick: { rooms: 50, events: 100, members: 500 },
};
/** What an isolate may have; what is beside the wasm's memory in it is small. */
const isolateMegabytesMax = 128;
const bytesPerMegabyte = 1024 * 1024;

export async function measureMemory(size) {
  const { rooms: roomCount, events, members } = sizes[size];
  const server = await new BenchServer({ BCRYPT_ROUNDS: "4" }).start();
  try {
    say(`Memory: ${roomCount} rooms of ${events} events, one with ${members} members`);
    let client = new Client(server.url);
    const { user } = await client.register("owner");
    const rooms = await createRooms(client, user, roomCount);
    for (const room of rooms) await client.send(user, room);
    const { room: large } = await client.createRoom(user);
    await client.send(user, large);
    await client.close();
    await server.end();
    const database = databaseFile(server.data);
    const script = path.join(root, "scripts/bench/fill.py");
    await run("python3", [script, database, String(events), large, String(members)]);
    await server.start();
    client = new Client(server.url);
    const rows = await walk(client, server, user, rooms, large);
    await client.close();
    const findings = new Findings();
    const most = Math.max(...rows.map(({ wasm }) => wasm));
    findings.atMost("memory of the Worker, MB", isolateMegabytesMax, most);
    return { rows, findings: findings.list };
  } finally {
    await server.stop();
  }
}

/** Everything that could fill the memory; resolves with what it was after each step. */
async function walk(client, server, user, rooms, large) {
  const rows = [];
  const step = async (name, requests) => {
    let wasm = 0;
    for (const request of requests) wasm = (await request()).cost.memory;
    const megabytes = round(wasm / bytesPerMegabyte);
    rows.push({ step: name, wasm: megabytes, runtime: server.runtimeMegabytes() });
  };
  await step("started", [() => client.whoami(user)]);
  await step("a send into each room", rooms.map((room) => () => client.send(user, room)));
  await step("initial sync of all rooms", [() => client.sync(user)]);
  await step("ten pages of messages",
    rooms.slice(0, 10).map((room) => () =>
      client.read(user, room, "/messages", { dir: "b", limit: 100 })));
  await step("a send into the large room", [() => client.send(user, large)]);
  await step("its members", [() => client.read(user, large, "/members")]);
  await step("its state", [() => client.read(user, large, "/state")]);
  const { user: newcomer } = await client.register("newcomer");
  await step("a join of it", [() => client.join(newcomer, large)]);
  await step("an initial sync with it", [() => client.sync(newcomer)]);
  return rows;
}

export function databaseFile(folder) {
  const files = fs.readdirSync(path.join(folder, "v3/d1"), { recursive: true });
  const found = files.filter((name) => name.endsWith(".sqlite") && !name.includes("metadata"));
  return path.join(folder, "v3/d1", found[0]);
}
