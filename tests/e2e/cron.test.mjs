// The local server's reading of cron expressions.
import assert from "node:assert/strict";
import { test } from "node:test";
import { matches } from "../../scripts/server/cron.mjs";

const sundayNoon = new Date("2026-03-01T12:10:00Z");

for (const [cron, expected] of [
  ["* * * * *", true],
  ["*/5 * * * *", true],
  ["*/7 * * * *", false],
  ["10 12 1 3 1", true],
  ["10 12 1 3 2", false],
  ["0,10,20 8-12 * * *", true],
  ["0-9 * * * *", false],
  ["2/4 * * * *", true],
  ["10 12 * *", false],
]) {
  test(`"${cron}" ${expected ? "names" : "does not name"} noon past ten of a Sunday`, () => {
    assert.equal(matches(cron, sundayNoon), expected);
  });
}
