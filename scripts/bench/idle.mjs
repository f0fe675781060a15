// What one client costs a day that has nothing to tell and is told nothing: it polls all day long.
import { createRooms } from "./budgets.mjs";
import { round } from "./report.mjs";

const pollSeconds = 30;
const pollsADay = (24 * 3600) / pollSeconds;
// The wait itself costs nothing, however long it is: a short one measures as well.
const waitMs = 500;
const polls = 20;
const roomCount = 10;

/** Resolves with one row of a table. */
export async function measureIdle(client) {
  const { user } = await client.register("idle");
  await createRooms(client, user, roomCount);
  let { since } = await client.sync(user);
  // The first one shows that the user is online now.
  ({ since } = await client.sync(user, since, waitMs));
  const spent = { d1: 0, "rows-read": 0, "rows-written": 0, hops: 0, "hops-ms": 0 };
  for (let i = 0; i < polls; i += 1) {
    const answer = await client.sync(user, since, waitMs);
    since = answer.since;
    for (const name of Object.keys(spent)) spent[name] += answer.cost[name];
  }
  const aDay = (name) => round((spent[name] / polls) * pollsADay);
  return {
    requests: pollsADay,
    "round trips": aDay("d1"),
    "rows read": aDay("rows-read"),
    "rows written": aDay("rows-written"),
    "object requests": aDay("hops"),
    "object s": round(aDay("hops-ms") / 1000),
  };
}
