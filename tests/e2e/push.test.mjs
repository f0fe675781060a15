// Notifications on a phone: the gateway is a real HTTPS server with a private authority.
import assert from "node:assert/strict";
import { test } from "node:test";
import { startServer } from "./harness.mjs";
import { gatewayUrl, startGateway } from "./push_gateway.mjs";

async function startPhone(t, gateway) {
  const server = await startServer({ args: gateway.serverArgs });
  t.after(() => server.stop());
  const [alice, bob] = [await server.register("alice"), await server.register("bob")];
  const v3 = "/_matrix/client/v3";
  const create = { preset: "public_chat", name: "Tea" };
  const { room_id: room } = await server.api(bob.access_token, "POST", `${v3}/createRoom`, create);
  await server.api(alice.access_token, "POST", `${v3}/join/${encodeURIComponent(room)}`, {});
  await server.api(alice.access_token, "POST", `${v3}/pushers/set`, {
    kind: "http",
    app_id: "app.test",
    pushkey: "phone",
    lang: "en",
    app_display_name: "App",
    device_display_name: "Phone",
    data: { url: gatewayUrl },
  });
  let sent = 0;
  const at = `${v3}/rooms/${encodeURIComponent(room)}`;
  const say = (body) => server.api(
    bob.access_token, "PUT", `${at}/send/m.room.message/${sent++}`, { msgtype: "m.text", body },
  );
  const read = (eventId) => server.api(
    alice.access_token, "POST", `${at}/receipt/m.read/${encodeURIComponent(eventId)}`, {},
  );
  return { server, say, read };
}

test("a message is on the phone within a second, and its count goes when it is read", async (t) => {
  const gateway = await startGateway(t);
  const { say, read } = await startPhone(t, gateway);
  for (const text of ["hello", "again"]) {
    const sentAt = Date.now();
    const { event_id: eventId } = await say(text);
    const { path, notification, at } = await gateway.next();
    assert.equal(path, "/_matrix/push/v1/notify");
    assert.equal(notification.event_id, eventId);
    assert.equal(notification.content.body, text);
    assert.equal(notification.room_name, "Tea");
    assert.deepEqual(notification.counts, { unread: 1 });
    assert.ok(at - sentAt < 1000, `${at - sentAt} ms`);
    await read(eventId);
    const badge = await gateway.next();
    assert.equal(badge.notification.event_id, undefined);
    assert.deepEqual(badge.notification.counts, { unread: 0 });
  }
});

test("a gateway that fails gets everything in order after a restart of the server", async (t) => {
  const gateway = await startGateway(t);
  const { server, say } = await startPhone(t, gateway);
  gateway.status = 502;
  await say("one");
  assert.equal((await gateway.next()).notification.content.body, "one");
  await say("two");
  await server.restart();
  gateway.told.length = 0;
  gateway.status = 200;
  const texts = [];
  while (texts.at(-1) !== "two") texts.push((await gateway.next()).notification.content.body);
  assert.deepEqual(texts, ["one", "two"]);
});
