// The local server's way to other servers, with a host map and a private authority.
import assert from "node:assert/strict";
import { once } from "node:events";
import fs from "node:fs";
import https from "node:https";
import { test } from "node:test";
import { Request } from "miniflare";
import { outboundService } from "../../scripts/server/outbound.mjs";
import { makeCertificate } from "./harness.mjs";

/** An https server for `other.test` that answers what it was asked. */
async function startPeer(t) {
  const { key, certificate } = makeCertificate(t, "DNS:other.test");
  const options = { key: fs.readFileSync(key), cert: fs.readFileSync(certificate) };
  const peer = https.createServer(options, async (request, response) => {
    const body = (await request.toArray()).join("");
    const { authorization, host } = request.headers;
    const { method, url } = request;
    if (url === "/moved") return response.writeHead(302, { location: "/elsewhere" }).end();
    if (url === "/nothing") return response.writeHead(204).end();
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ method, url, host, authorization, body }));
  });
  peer.listen(0, "127.0.0.1");
  await once(peer, "listening");
  t.after(() => peer.close());
  t.after(() => peer.closeAllConnections());
  const authority = fs.readFileSync(certificate, "utf8");
  const address = `127.0.0.1:${peer.address().port}`;
  return { authority, hostMap: new Map([["other.test:8448", address]]) };
}

test("a mapped host is reached under its own name, with a private authority", async (t) => {
  const send = outboundService(await startPeer(t));
  const request = new Request("https://other.test:8448/_matrix/key/v2/server?a=%2F", {
    method: "PUT",
    headers: { authorization: "X-Matrix origin=\"one.test\"" },
    body: "a body",
  });
  const answer = await send(request);
  assert.equal(answer.status, 200);
  assert.deepEqual(await answer.json(), {
    method: "PUT",
    url: "/_matrix/key/v2/server?a=%2F",
    host: "other.test:8448",
    authorization: "X-Matrix origin=\"one.test\"",
    body: "a body",
  });
});

test("redirects and empty answers arrive as they are", async (t) => {
  const send = outboundService(await startPeer(t));
  const moved = await send(new Request("https://other.test:8448/moved"));
  assert.equal(moved.status, 302);
  assert.equal(moved.headers.get("location"), "/elsewhere");
  const nothing = await send(new Request("https://other.test:8448/nothing"));
  assert.equal(nothing.status, 204);
});

test("a server that cannot be trusted or reached gives Cloudflare's status", async (t) => {
  const { hostMap } = await startPeer(t);
  const untrusted = await outboundService({ hostMap })(new Request("https://other.test:8448/"));
  assert.equal(untrusted.status, 526);
  const closed = outboundService({ hostMap: new Map([["other.test:443", "127.0.0.1:1"]]) });
  assert.equal((await closed(new Request("https://other.test/"))).status, 521);
});
