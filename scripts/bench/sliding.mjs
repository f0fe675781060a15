// The budgets of simplified sliding sync: the same for any number of rooms.

const roundTripsMax = 3;
const rowsWrittenMax = 4;
const rowsOfNothingNewMax = 40;
const rowsOfAMessageMax = 150;

const requiredState = [
  ["m.room.name", ""], ["m.room.encryption", ""],
  ["m.room.member", "$LAZY"], ["m.room.member", "$ME"],
];

/** What a client asks for that shows so many rooms, as Element X does. */
export function slidingRequest(rooms) {
  const on = { enabled: true };
  return {
    conn_id: `rooms-${rooms}`,
    lists: {
      all_rooms: {
        ranges: [[0, rooms - 1]], timeline_limit: 1, required_state: requiredState,
      },
    },
    extensions: { account_data: on, receipts: on, typing: on, to_device: on, e2ee: on },
  };
}

/** Requests of a user who is in `roomCount` rooms, of which so many are shown. */
export async function countSlidingSyncs(client, user, rooms, shown, findings) {
  const request = slidingRequest(shown);
  const what = `sliding sync, ${shown} of ${rooms.length} rooms`;
  let { pos } = await client.slidingSync(user, request);
  const next = async (news, rowsWritten) => {
    const { cost, body, pos: after } = await client.slidingSync(user, request, pos);
    pos = after;
    findings.atMost(`${what}, ${news}: round trips`, roundTripsMax, cost.d1);
    findings.atMost(`${what}, ${news}: rows written`, rowsWritten, cost["rows-written"]);
    return { cost, told: Object.keys(body.rooms).length };
  };
  // What the first answer was too small for, and that the user is online now.
  for (let told = 1; told > 0;) ({ pos, told } = await client.slidingSync(user, request, pos));
  const quiet = await next("nothing new", 0);
  if (shown >= rooms.length) {
    const rowsBudget = `${what}, nothing new: rows read`;
    findings.atMost(rowsBudget, rowsOfNothingNewMax, quiet.cost["rows-read"]);
  }
  await client.send(user, rooms.at(-1));
  await next("a first message", rowsWrittenMax);
  await client.send(user, rooms.at(-1));
  const one = await next("one message", 0);
  findings.exactly(`${what}, one message: rooms told`, 1, one.told);
  if (shown >= rooms.length) {
    const rowsBudget = `${what}, one message: rows read`;
    findings.atMost(rowsBudget, rowsOfAMessageMax, one.cost["rows-read"]);
  }
  for (const room of rooms) await client.send(user, room);
  await next("a message in every room", rowsWrittenMax);
}
