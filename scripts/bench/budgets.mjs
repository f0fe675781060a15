// The budgets of docs/architecture.md, each as what was measured against its limit.
//
// All but the last are counts: they hold on any machine, however busy.
import { quantile, round } from "./report.mjs";
import { countSlidingSyncs } from "./sliding.mjs";

/** What the users of the counts below have; the tests take less of everything. */
export const fullSizes = {
  rooms: [10, 300], initialRooms: 50, sends: 20, waitsMs: [300, 1500], members: [2, 20],
  keyUsers: 20,
};

const sendersAtOnce = 16;
const groupRounds = 5;
const roundTripsOfASend = 1;
const roundTripsOfKeysMax = 2;
const oneTimeKeys = 50;
const rowsOfASendMax = 22;
const rowsSavedInAGroupMin = 5;
const rowsOfAnEmptySyncMax = 20;
const roundTripsOfAnInitialSyncMax = 4;
const rowsOfANotificationMax = 3;
const slowdownMax = 3;
const sendsUnderLoad = 60;
const creationsAtOnce = 4;

/** Collects findings: `{ budget, limit, measured, holds }`. */
export class Findings {
  list = [];

  atMost(budget, limit, measured) {
    this.list.push({ budget, limit: `<= ${limit}`, measured, holds: measured <= limit });
  }

  exactly(budget, limit, measured) {
    this.list.push({ budget, limit: `${limit}`, measured, holds: measured === limit });
  }

  atLeast(budget, limit, measured) {
    this.list.push({ budget, limit: `>= ${limit}`, measured, holds: measured >= limit });
  }

  get broken() {
    return this.list.filter(({ holds }) => !holds);
  }
}

/** Everything that can be counted. */
export async function countAll(client, sizes = fullSizes) {
  const findings = new Findings();
  const { user } = await client.register("budgets");
  await countSmallRequests(client, user, findings);
  await countSends(client, user, sizes.sends, findings);
  const { user: reader, rooms } = await countSyncs(client, sizes, findings);
  for (const shown of [20, rooms.length]) {
    await countSlidingSyncs(client, reader, rooms, shown, findings);
  }
  for (const members of sizes.members) await countNotifications(client, members, findings);
  await countKeys(client, sizes.keyUsers, findings);
  return findings;
}

async function countSmallRequests(client, user, findings) {
  await client.whoami(user);
  const { cost: versions } = await client.versions();
  findings.exactly("versions: round trips", 0, versions.d1);
  const { cost: whoami } = await client.whoami(user);
  findings.exactly("whoami: round trips", 1, whoami.d1);
}

async function countSends(client, user, sends, findings) {
  const { room } = await client.createRoom(user);
  await client.send(user, room);
  const costs = [];
  for (let i = 0; i < sends; i += 1) costs.push((await client.send(user, room)).cost);
  const most = (name) => Math.max(...costs.map((cost) => cost[name]));
  findings.exactly("send, warm room: round trips", roundTripsOfASend, most("d1"));
  findings.exactly("send, warm room: hops", 1, most("hops"));
  findings.atMost("send, warm room: rows written", rowsOfASendMax, most("rows-written"));
}

/** What a message writes for those who are notified of it, and for those who want none of it. */
export async function countNotifications(client, count, findings) {
  const registering = Array.from({ length: count }, (_, i) => client.register(`m${count}-${i}`));
  const [sender, ...members] = (await Promise.all(registering)).map(({ user }) => user);
  const { room } = await client.createRoom(sender);
  const rowsOfASend = async () => {
    await client.send(sender, room);
    return (await client.send(sender, room)).cost["rows-written"];
  };
  const alone = await rowsOfASend();
  for (const member of members) await client.join(member, room);
  const notified = (await rowsOfASend()) - alone;
  findings.atMost(`${count} members: rows written for each who is notified`,
    rowsOfANotificationMax, round(notified / members.length));
  for (const member of members) await client.wantNoNotifications(member);
  findings.exactly(`${count} members: rows written for those who are not`, 0,
    (await rowsOfASend()) - alone);
}

/**
 * Sixteen users send into one room at the same moment. A commit is charged to one of its events,
 * so what all answers have spent are the commits.
 */
export async function countGroups(client, commitsMax) {
  const findings = new Findings();
  const registering = Array.from({ length: sendersAtOnce }, (_, i) => client.register(`group${i}`));
  const users = (await Promise.all(registering)).map(({ user }) => user);
  const { room } = await client.createRoom(users[0]);
  for (const user of users.slice(1)) await client.join(user, room);
  const { cost: alone } = await client.send(users[0], room);
  const rounds = [];
  for (let i = 0; i < groupRounds; i += 1) {
    const answers = await Promise.all(users.map((each) => client.send(each, room)));
    const sum = (name) => answers.reduce((total, { cost }) => total + cost[name], 0);
    const commits = sum("d1");
    const further = (sum("rows-written") - commits * alone["rows-written"])
      / (sendersAtOnce - commits);
    rounds.push({ commits, saved: alone["rows-written"] - further });
  }
  const commits = Math.max(...rounds.map((each) => each.commits));
  const saved = Math.min(...rounds.map((each) => each.saved));
  findings.atMost(`${sendersAtOnce} users send at once: commits`, commitsMax, commits);
  findings.atLeast("each further event of a group: rows saved", rowsSavedInAGroupMin,
    round(saved));
  return findings;
}

/** Keys of devices are published, asked for and handed out; messages are sent to devices. */
async function countKeys(client, userCount, findings) {
  const registering = Array.from({ length: userCount }, (_, i) => client.register(`keys${i}`));
  const users = (await Promise.all(registering)).map(({ user }) => user);
  const uploads = [];
  for (const user of users) uploads.push(await client.uploadKeys(user, oneTimeKeys));
  const trips = Math.max(...uploads.map(({ cost }) => cost.d1));
  findings.atMost(`keys/upload of ${oneTimeKeys} keys: round trips`, roundTripsOfKeysMax, trips);
  for (const [name, answer] of [
    ["keys/query", await client.queryKeys(users[0], users)],
    ["keys/claim", await client.claimKeys(users[0], users)],
    ["sendToDevice", await client.sendToDevices(users[0], users, { ciphertext: "x" })],
  ]) {
    const budget = `${name}, ${userCount} users: round trips`;
    findings.atMost(budget, roundTripsOfKeysMax, answer.cost.d1);
  }
}

async function countSyncs(client, { rooms, initialRooms, waitsMs }, findings) {
  const { user } = await client.register("syncs");
  const created = [];
  for (const count of [...new Set([...rooms, initialRooms])].sort((a, b) => a - b)) {
    created.push(...(await createRooms(client, user, count - created.length)));
    const { cost: initial, since } = await client.sync(user);
    if (count === initialRooms) {
      const budget = `sync, initial, ${count} rooms: round trips`;
      findings.atMost(budget, roundTripsOfAnInitialSyncMax, initial.d1);
      const { cost: again } = await client.sync(user);
      findings.atMost("the same once more: rows read", initial["rows-read"], again["rows-read"]);
    }
    if (rooms.includes(count)) {
      // The first one shows that the user is online now.
      const { since: quiet } = await client.sync(user, since);
      const { cost } = await client.sync(user, quiet);
      findings.exactly(`sync, nothing new, ${count} rooms: round trips`, 1, cost.d1);
      const rowsBudget = `sync, nothing new, ${count} rooms: rows read`;
      findings.atMost(rowsBudget, rowsOfAnEmptySyncMax, cost["rows-read"]);
    }
  }
  await countWaits(client, user, waitsMs, findings);
  return { user, rooms: created };
}

/** A wait of any length costs the same: one look before it, and one after its time is over. */
async function countWaits(client, user, waitsMs, findings) {
  const { since } = await client.sync(user);
  const spent = [];
  for (const waitMs of waitsMs) spent.push((await client.sync(user, since, waitMs)).cost.d1);
  findings.atMost("sync that waits in vain: round trips", 3, Math.max(...spent));
  const while_ = Math.max(...spent) - Math.min(...spent);
  findings.exactly("sync, while it waits: round trips", 0, while_);
}

export async function createRooms(client, user, count) {
  const rooms = [];
  const work = async () => {
    while (rooms.length < count) {
      rooms.push(undefined);
      const index = rooms.length - 1;
      rooms[index] = (await client.createRoom(user, { preset: "private_chat" })).room;
    }
  };
  await Promise.all(Array.from({ length: creationsAtOnce }, work));
  return rooms;
}

/** The p95 of sending, while initial syncs of many rooms run, against that of a quiet server. */
export async function timeSendsUnderLoad(client, roomCount = 300, syncsAtOnce = 4) {
  const findings = new Findings();
  const { user: sender } = await client.register("sender");
  const { user: reader } = await client.register("reader");
  const { room } = await client.createRoom(sender);
  await createRooms(client, reader, roomCount);
  const p95 = async () => {
    const times = [];
    for (let i = 0; i < sendsUnderLoad; i += 1) times.push((await client.send(sender, room)).ms);
    return quantile(times, 0.95);
  };
  await p95();
  const quiet = await p95();
  let isOver = false;
  const keepSyncing = async () => {
    while (!isOver) await client.sync(reader);
  };
  const syncing = Array.from({ length: syncsAtOnce }, keepSyncing);
  const loaded = await p95();
  isOver = true;
  await Promise.all(syncing);
  const budget = `send p95 during ${syncsAtOnce} initial syncs of ${roomCount} rooms, times quiet`;
  findings.atMost(budget, slowdownMax, round(loaded / quiet));
  return findings;
}
