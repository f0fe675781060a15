// Files on the real runtime: they pass by as streams, and previews stay out of the own network.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import { Readable } from "node:stream";
import { after, before, test } from "node:test";
import { startServer } from "./harness.mjs";

const megabyte = 1024 * 1024;
let server;
let alice;

before(async () => {
  server = await startServer({ vars: { DEVELOPMENT: "true" } });
  alice = await server.register("alice");
});
after(() => server.stop());

/** `length` bytes that are not the same everywhere, with their hash. */
function file(length) {
  const block = randomBytes(megabyte);
  const bytes = Buffer.concat(Array(Math.ceil(length / megabyte)).fill(block)).subarray(0, length);
  return { bytes, hash: createHash("sha256").update(bytes).digest("hex") };
}

function call(method, path, { headers = {}, ...options } = {}) {
  const authorization = `Bearer ${alice.access_token}`;
  return fetch(`${server.url}${path}`, {
    method,
    headers: { authorization, ...headers },
    ...options,
  });
}

async function upload(body, headers = {}, options = {}) {
  const answer = await call("POST", "/_matrix/media/v3/upload", { body, headers, ...options });
  assert.equal(answer.status, 200, await answer.clone().text());
  const { content_uri: uri } = await answer.json();
  return uri.slice("mxc://".length);
}

const download = (path, options) =>
  call("GET", `/_matrix/client/v1/media/download/${path}`, options);

async function hashOf(answer) {
  const hash = createHash("sha256");
  for await (const chunk of answer.body) hash.update(chunk);
  return hash.digest("hex");
}

/** Bytes of the wasm's memory, which never shrinks. */
async function memory() {
  const answer = await call("GET", "/_matrix/client/v3/account/whoami");
  await answer.arrayBuffer();
  return Number(/memory;desc="(\d+)"/.exec(answer.headers.get("server-timing"))[1]);
}

test("100 MB go in and out without standing in the memory", async () => {
  const { bytes, hash } = file(100 * megabyte);
  const path = await upload(bytes, { "content-type": "video/mp4" });
  const answer = await download(path);
  assert.equal(answer.headers.get("content-length"), String(bytes.length));
  assert.equal(answer.headers.get("content-type"), "video/mp4");
  assert.equal(await hashOf(answer), hash);
  assert.ok((await memory()) < 64 * megabyte, `${await memory()} bytes`);
  const part = await download(path, { headers: { range: "bytes=1048570-1048585" } });
  assert.equal(part.status, 206);
  const expected = bytes.subarray(1048570, 1048586);
  assert.ok(Buffer.from(await part.arrayBuffer()).equals(expected));
});

test("a file whose length nobody has named is taken in parts", async () => {
  const { bytes, hash } = file(20 * megabyte + 5);
  const body = Readable.toWeb(Readable.from(split(bytes, 300_000)));
  const path = await upload(body, { "content-type": "x/y" }, { duplex: "half" });
  const answer = await download(path);
  assert.equal(answer.headers.get("content-length"), String(bytes.length));
  assert.equal(await hashOf(answer), hash);
});

function* split(bytes, length) {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

test("a file that is too large is refused, with and without its length", async () => {
  const { bytes } = file(100 * megabyte + 1);
  const named = await call("POST", "/_matrix/media/v3/upload", { body: bytes });
  assert.equal(named.status, 413);
  assert.equal((await named.json()).errcode, "M_TOO_LARGE");
  const stream = Readable.toWeb(Readable.from(split(bytes, megabyte)));
  const unnamed = await call("POST", "/_matrix/media/v3/upload", { body: stream, duplex: "half" })
    .catch((error) => error);
  // The connection may end before the client has said all.
  if (unnamed.status) assert.equal(unnamed.status, 413);
});

test("an upload that breaks off leaves nothing", async () => {
  const created = await (await call("POST", "/_matrix/media/v1/create")).json();
  const path = created.content_uri.slice("mxc://".length);
  const { port } = new URL(server.url);
  const request = http.request({
    port,
    host: "127.0.0.1",
    method: "PUT",
    path: `/_matrix/media/v3/upload/${path}`,
    headers: { authorization: `Bearer ${alice.access_token}`, "content-length": 5 * megabyte },
  });
  request.on("error", () => {});
  request.write(Buffer.alloc(megabyte));
  await new Promise((resolve) => setTimeout(resolve, 300));
  request.destroy();
  const early = await download(`${path}?timeout_ms=300`);
  assert.equal((await early.json()).errcode, "M_NOT_YET_UPLOADED");
  for (let attempt = 0; ; attempt += 1) {
    const again = await call("PUT", `/_matrix/media/v3/upload/${path}`, { body: "whole" });
    if (again.status === 200) break;
    assert.ok(attempt < 20, await again.text());
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  assert.equal(await (await download(path)).text(), "whole");
});

// One pixel.
const png = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
    + "RU5ErkJggg==",
  "base64",
);

test("a thumbnail is made, and the same is served afterwards", async () => {
  const path = await upload(png, { "content-type": "image/png" });
  const query = "width=32&height=32&method=scale";
  const get = () => call("GET", `/_matrix/client/v1/media/thumbnail/${path}?${query}`);
  const [made, kept] = [await get(), await get()];
  assert.equal(made.status, 200, await made.clone().text());
  assert.equal(made.headers.get("content-type"), "image/png");
  const bytes = Buffer.from(await made.arrayBuffer());
  assert.equal(bytes.subarray(1, 4).toString(), "PNG");
  assert.ok(bytes.equals(Buffer.from(await kept.arrayBuffer())));
});

async function startSite(t) {
  const site = http.createServer((request, response) => {
    response.setHeader("content-type", "text/html");
    response.end("<title>Inside</title>");
  });
  site.listen(0, "127.0.0.1");
  await once(site, "listening");
  t.after(() => site.close());
  return site.address().port;
}

const preview = (url) =>
  call("GET", `/_matrix/client/v1/media/preview_url?url=${encodeURIComponent(url)}`);

test("previews do not reach the own network, by address or by name", async (t) => {
  const port = await startSite(t);
  // The last one is a public name that leads to the loopback wherever there is a resolver.
  for (const host of ["127.0.0.1", "localhost", "[::1]", "127.0.0.1.nip.io"]) {
    const answer = await preview(`http://${host}:${port}/`);
    assert.ok([403, 502].includes(answer.status), `${host}: ${answer.status}`);
    assert.ok(!(await answer.text()).includes("Inside"));
  }
});

test("a host that the operator allows is previewed", async (t) => {
  const port = await startSite(t);
  const other = await startServer({ vars: { URL_PREVIEW_PRIVATE_HOSTS: "127.0.0.1" } });
  t.after(() => other.stop());
  const { access_token: token } = await other.register("alice");
  const url = encodeURIComponent(`http://127.0.0.1:${port}/`);
  const answer = await fetch(`${other.url}/_matrix/client/v1/media/preview_url?url=${url}`, {
    headers: { authorization: `Bearer ${token}` },
  });
  assert.deepEqual(await answer.json(), { "og:title": "Inside" });
});
