// What does not grow: the sync of a user in many rooms, and of a room of many events. The counts
// are budgets; so are the times where there are samples enough. Those are taken in turns, and the
// fastest quarter of them tells what the server does when nothing else is in its way.
import { createRooms, Findings } from "./budgets.mjs";
import { timelineOf } from "./client.mjs";
import { quantile, round } from "./report.mjs";

export const flatSizes = {
  full: { rooms: [10, 300], events: [100, 5000], syncs: 100, times: true },
  quick: { rooms: [10, 60], events: [20, 200], syncs: 5 },
};
const growthMax = 1.2;
const sendsAtOnce = 8;

/** Resolves with findings, and with the rows of a table of times. */
export async function measureFlat(client, { rooms, events, syncs, times: bindsTimes }) {
  const findings = new Findings();
  const times = [];
  const compare = async (what, sizes, grow) => {
    const readers = [];
    for (const size of sizes) readers.push(await grow(client, size));
    const names = sizes.map((size) => `${size} ${what}`);
    const counted = await countReaders(client, readers, syncs);
    for (const news of ["nothing new", "one event"]) {
      const [few, many] = counted.map((each) => each[news]);
      const budget = `sync, ${news}, ${names[1]} / ${names[0]}`;
      findings.atMost(`${budget}: rows read`, growthMax, round(many.rows / few.rows));
      findings.atMost(`${budget}: round trips`, 1, round(many.trips / few.trips));
      const growth = round(many.ms / few.ms);
      if (bindsTimes) findings.atMost(`${budget}: time`, growthMax, growth);
      const [small, large] = [round(few.ms), round(many.ms)];
      times.push({ sync: budget, "small p25_ms": small, "large p25_ms": large, times: growth });
    }
  };
  await compare("rooms", rooms, readerOfRooms);
  await compare("events", events, readerOfEvents);
  return { findings, times };
}

async function readerOfRooms(client, count) {
  const { user } = await client.register(`rooms${count}`);
  const rooms = await createRooms(client, user, count);
  await client.send(user, rooms[0]);
  return { user, room: rooms[0] };
}

async function readerOfEvents(client, count) {
  const { user } = await client.register(`events${count}`);
  const [room] = await createRooms(client, user, 1);
  let left = count;
  const work = async () => {
    while (left > 0) {
      left -= 1;
      await client.send(user, room);
    }
  };
  await Promise.all(Array.from({ length: sendsAtOnce }, work));
  return { user, room };
}

/** In turns, so that what slows the machine down slows down both. */
async function countReaders(client, readers, syncs) {
  const samples = readers.map(() => ({ "nothing new": [], "one event": [] }));
  for (const reader of readers) {
    const { since } = await client.sync(reader.user);
    // The first one shows that the user is online now.
    ({ since: reader.since } = await client.sync(reader.user, since));
  }
  for (let i = 0; i < syncs; i += 1) {
    const order = [...readers.entries()];
    for (const [k, reader] of i % 2 === 0 ? order : order.reverse()) {
      const quiet = await client.sync(reader.user, reader.since);
      const { eventId } = await client.send(reader.user, reader.room);
      const answer = await client.sync(reader.user, quiet.since);
      if (!timelineOf(answer, reader.room).includes(eventId)) throw new Error("no event");
      reader.since = answer.since;
      samples[k]["nothing new"].push(quiet);
      samples[k]["one event"].push(answer);
    }
  }
  const summary = (answers) => ({
    rows: quantile(answers.map(({ cost }) => cost["rows-read"]), 0.5),
    trips: Math.max(...answers.map(({ cost }) => cost.d1)),
    ms: quantile(answers.map(({ ms }) => ms), 0.25),
  });
  return samples.map((each) =>
    Object.fromEntries(Object.entries(each).map(([news, list]) => [news, summary(list)])));
}
