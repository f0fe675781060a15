// Devices on matrix-nio (tests/e2e/nio_device.py).
import fs from "node:fs";
import path from "node:path";
import { nioPython } from "../../scripts/build/nio.mjs";
import { DrivenClient } from "./driven_client.mjs";
import { root, temporaryFolder } from "./harness.mjs";

/** A device that is logged in and syncs. */
export async function startNio(t, witness, user, password) {
  const script = path.join(root, "tests/e2e/nio_device.py");
  const client = new DrivenClient(t, `${user} (nio)`, nioPython, [script]);
  const folder = temporaryFolder();
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const session = await client.call("login", { url: witness.url, user, password, folder });
  return Object.assign(client, { userId: session.user_id });
}
