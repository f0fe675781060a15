// Clients on the Matrix Rust SDK, which Element X is built on (tests/e2e/rust-client).
import fs from "node:fs";
import { rustClientFile } from "../../scripts/build/rust_client.mjs";
import { DrivenClient } from "./driven_client.mjs";
import { temporaryFolder } from "./harness.mjs";

/** A client that is logged in and follows the server with the protocol `how`. */
export async function followWith(t, witness, name, how, password) {
  const client = new DrivenClient(t, `${name} (${how})`, rustClientFile(), []);
  const sliding = how !== "sync";
  const folder = temporaryFolder();
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const login = { url: witness.url, user: name, password, folder, sliding };
  const { user_id, device_id } = await client.call("login", login);
  Object.assign(client, { how, userId: user_id, deviceId: device_id });
  await client.call("follow", { how });
  return client;
}
