// The local server as a program: its flags, its addresses, its start and its end.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import https from "node:https";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { makeCertificate, root, startServer } from "./harness.mjs";

const serveScript = path.join(root, "scripts/serve.mjs");

function serve(args, env = {}) {
  const options = { encoding: "utf8", env: { ...process.env, ...env } };
  return spawnSync(process.execPath, [serveScript, ...args], options);
}

async function started(t, options) {
  const server = await startServer(options);
  t.after(() => server.stop());
  return server;
}

test("a server is ready when it says so", async (t) => {
  const server = await started(t);
  const answer = await server.request("GET", "/_matrix/client/versions");
  assert.equal(answer.status, 200);
  assert.ok(answer.body.versions.length > 0);
});

test("a connection that the client closes is closed", async (t) => {
  const server = await started(t);
  const before = server.openFiles();
  if (before === undefined) return t.skip("nobody can tell how many files are open");
  const { hostname: host, port } = new URL(server.url);
  const ask = () =>
    new Promise((resolve, reject) => {
      const client = net.connect({ host, port });
      client.once("error", reject);
      client.once("data", () => client.end());
      client.once("close", resolve);
      client.write("GET /_matrix/client/versions HTTP/1.1\r\nHost: a\r\n\r\n");
    });
  for (let round = 0; round < 5; round += 1) await Promise.all(Array.from({ length: 40 }, ask));
  const end = Date.now() + 10_000;
  while (server.openFiles() > before + 20 && Date.now() < end) await delay(50);
  assert.ok(server.openFiles() <= before + 20, `${before}, then ${server.openFiles()}`);
});

for (const signal of ["SIGINT", "SIGTERM"]) {
  test(`${signal} ends the server and its child, with exit code 0`, async () => {
    const server = await startServer();
    assert.equal(await server.end(signal), 0);
    assert.equal(server.isAlive(), false);
    await assert.rejects(fetch(server.url), "nothing listens any more");
    await server.stop();
  });
}

test("Ctrl-C, which reaches all processes of a terminal, ends the server as cleanly", async () => {
  const server = await startServer();
  assert.equal(await server.end("SIGINT", { group: true }), 0, server.log);
  assert.equal(server.isAlive(), false);
  assert.doesNotMatch(server.log, /error/i);
  await server.stop();
});

test("two servers run at once and know nothing of each other", async (t) => {
  const [one, two] = await Promise.all([
    started(t, { serverName: "one.test" }),
    started(t, { serverName: "two.test" }),
  ]);
  assert.notEqual(one.url, two.url);
  assert.notEqual(one.dataFolder, two.dataFolder);
  for (const server of [one, two]) {
    await server.api(undefined, "GET", "/_matrix/client/versions");
  }
});

test("one server listens on http and https at once", async (t) => {
  const { key, certificate } = makeCertificate(t, "IP:127.0.0.1");
  const server = await started(t, {
    args: ["--listen", "https://127.0.0.1:0", "--tls-key", key, "--tls-cert", certificate],
  });
  assert.deepEqual(
    server.urls.map((url) => new URL(url).protocol),
    ["http:", "https:"],
  );
  const address = `${server.urls[1]}/_matrix/client/versions`;
  const ca = fs.readFileSync(certificate);
  const status = await new Promise((resolve, reject) => {
    https.get(address, { ca }, (answer) => resolve(answer.resume().statusCode)).on("error", reject);
  });
  assert.equal(status, 200);
});

test("an idle https connection stays open for the next request", async (t) => {
  const { key, certificate } = makeCertificate(t, "IP:127.0.0.1");
  const args = ["--listen", "https://127.0.0.1:0", "--tls-key", key, "--tls-cert", certificate];
  const server = await started(t, { args });
  const ca = fs.readFileSync(certificate);
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ca });
  t.after(() => agent.destroy());
  const address = `${server.urls[1]}/_matrix/client/v3/register?kind=guest`;
  const post = () =>
    new Promise((resolve, reject) => {
      const request = https.request(address, { agent, method: "POST" }, async (answer) => {
        const body = JSON.parse(Buffer.concat(await answer.toArray()));
        resolve({ status: answer.statusCode, body, reused: request.reusedSocket });
      });
      request.on("error", reject).end("{}");
    });
  const first = await post();
  await new Promise((resolve) => setTimeout(resolve, 6_000));
  const second = await post();
  assert.deepEqual([first.status, first.reused], [200, false]);
  assert.deepEqual([second.status, second.reused], [200, true]);
  assert.notEqual(first.body.user_id, second.body.user_id);
});

test("what does not exist is answered as the specification says", async (t) => {
  const server = await started(t);
  for (const target of ["/_matrix/client/v3/nonsense", "/nonsense", "/_synapse/nonsense"]) {
    const { status, body } = await server.request("GET", target);
    assert.equal(status, 404, target);
    assert.equal(body.errcode, "M_UNRECOGNIZED", target);
  }
});

test("a person who opens the address sees a page", async (t) => {
  const server = await started(t);
  const page = await server.request("GET", "/");
  assert.equal(page.status, 200);
  assert.match(page.headers.get("content-type"), /^text\/html/);
  const folder = await server.request("GET", "/setup?token=x");
  assert.equal(folder.status, 307);
  assert.equal(folder.headers.get("location"), "/setup/?token=x");
  const outside = await server.request("GET", "/%2e%2e%2fpackage.json");
  assert.equal(outside.status, 404);
});

test("flags that make no sense are explained in one sentence", () => {
  const cases = [
    [["--nonsense"], /Unknown option '--nonsense'/],
    [["--listen", "127.0.0.1:80"], /http:\/\/ADDRESS:PORT/],
    [["--listen", "https://127.0.0.1:0"], /--tls-cert and --tls-key/],
    [["--var", "NONSENSE=1", "--listen", "http://127.0.0.1:0"], /no variable NONSENSE/],
    [["--signing-key", "/nonexistent/key"], /\/nonexistent\/key cannot be read/],
  ];
  for (const [args, sentence] of cases) {
    const { status, stderr } = serve(args);
    assert.equal(status, 1, args.join(" "));
    assert.match(stderr, sentence);
    assert.equal(stderr.trim().split("\n").length, 1, stderr);
  }
  assert.match(serve(["--help"]).stdout, /--registration-shared-secret/);
});

test("a port in use is said to be so", async (t) => {
  const holder = net.createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => holder.once("listening", resolve));
  t.after(() => holder.close());
  const { status, stderr } = serve([], {
    MYELIN_LISTEN: `http://127.0.0.1:${holder.address().port}`,
  });
  assert.equal(status, 1);
  assert.match(stderr, /is in use by another program/);
});
