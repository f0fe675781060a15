// What an old `since` costs: the same news in the same rooms, a hundred events of others ago and
// a hundred thousand.
import path from "node:path";
import { run, root, say } from "../run.mjs";
import { createRooms, Findings } from "./budgets.mjs";
import { Client } from "./client.mjs";
import { databaseFile } from "./memory.mjs";
import { round } from "./report.mjs";
import { BenchServer } from "./server.mjs";

const ages = { full: [100, 100_000], quick: [100, 10_000] };
const growthMax = 2;
const roomsOfReader = 40;
const roomsOfOthers = 10;
const roomsWithNews = 5;

export async function measureAge(size) {
  const server = await new BenchServer({ PRESENCE: "off" }).start();
  try {
    say(`Syncs of a since that is ${ages[size].join(" and ")} events old`);
    let client = new Client(server.url);
    const talk = async (other, rooms, count) => {
      for (const room of rooms) await client.send(other, room);
      await client.close();
      await server.end();
      const script = path.join(root, "scripts/bench/fill.py");
      await run("python3", [script, databaseFile(server.data), String(count / rooms.length - 1)]);
      await server.start();
      client = new Client(server.url);
      return client;
    };
    const { list } = await countAges(client, ages[size], talk);
    await client.close();
    return list;
  } finally {
    await server.stop();
  }
}

/** `talk` sends so many events into the rooms of somebody else; resolves with the client. */
export async function countAges(client, agesToCount, talk) {
  const { user: reader } = await client.register("reader");
  const { user: other } = await client.register("other");
  const rooms = await createRooms(client, reader, roomsOfReader);
  const others = await createRooms(client, other, roomsOfOthers);
  const rows = [];
  for (const age of agesToCount) {
    const { since } = await client.sync(reader);
    client = await talk(other, others, age);
    for (const room of rooms.slice(0, roomsWithNews)) {
      await client.sendState(reader, room, "m.room.topic", { topic: `after ${age}` });
    }
    // The first one makes the isolate know the token.
    await client.sync(reader, since);
    const { cost, body } = await client.sync(reader, since);
    const told = Object.keys(body.rooms.join).length;
    if (told !== roomsWithNews) throw new Error(`${told} rooms have news`);
    rows.push(cost["rows-read"]);
  }
  const findings = new Findings();
  const [young, old] = agesToCount;
  const budget = `sync, ${roomsWithNews} rooms with news, rows read: ${old} events old / ${young}`;
  findings.atMost(budget, growthMax, round(rows[1] / rows[0]));
  return findings;
}
