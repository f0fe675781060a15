// What requests cost, by count: round trips, rows and hops, not times. `npm run bench` checks the
// same with larger numbers, and the times.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { countAges } from "../../scripts/bench/age.mjs";
import { countAll, countGroups } from "../../scripts/bench/budgets.mjs";
import { Client } from "../../scripts/bench/client.mjs";
import { flatSizes, measureFlat } from "../../scripts/bench/flat.mjs";
import { startServer } from "./harness.mjs";

const sizes = {
  rooms: [10, 50], initialRooms: 50, sends: 5, waitsMs: [100, 400], members: [2, 20],
  keyUsers: 5,
};
// All sixteen reach the room during the first commit, when each call takes as long as this.
const latencyMs = "20";

for (const [name, vars, count] of [
  ["requests of one user", {}, (client) => countAll(client, sizes)],
  ["an old since", {}, (client) => countAges(client, [20, 200], async (other, rooms, count) => {
    for (let i = 0; i < count; i += 1) await client.send(other, rooms[i % rooms.length]);
    return client;
  })],
  // Three on a quiet machine; here another file of tests runs beside.
  ["sixteen users in one room", { LATENCY_MS: latencyMs }, (client) => countGroups(client, 5)],
  ["many rooms and many events", {}, async (client) => {
    const { findings } = await measureFlat(client, flatSizes.quick);
    return findings;
  }],
]) {
  describe(`the budgets of ${name}`, () => {
    let server;
    let client;

    before(async () => {
      server = await startServer({ vars: { DEVELOPMENT: "true", ...vars } });
      client = new Client(server.url);
    });

    after(async () => {
      await client.close();
      await server.stop();
    });

    it("hold", async () => {
      const { list, broken } = await count(client);
      assert.ok(list.length > 0);
      assert.deepEqual(broken, []);
    });
  });
}
