// A push gateway as phones have one: a real HTTPS server with a certificate of a private authority.
import { once } from "node:events";
import fs from "node:fs";
import https from "node:https";
import { makeCertificate } from "./harness.mjs";

const host = "push.example.com";
export const gatewayUrl = `https://${host}/_matrix/push/v1/notify`;

/**
 * What the gateway is told, and when; `status` is what it answers. A server finds it when it is
 * started with `serverArgs`.
 */
export async function startGateway(t) {
  const { key, certificate } = makeCertificate(t, `DNS:${host}`);
  const gateway = { status: 200, told: [], waiting: [] };
  const options = { key: fs.readFileSync(key), cert: fs.readFileSync(certificate) };
  const server = https.createServer(options, async (request, response) => {
    const body = JSON.parse((await request.toArray()).join(""));
    gateway.told.push({ path: request.url, notification: body.notification, at: Date.now() });
    response.writeHead(gateway.status, { "content-type": "application/json" }).end("{}");
    gateway.waiting.splice(0).forEach((wake) => wake());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  t.after(() => server.closeAllConnections());
  const address = `127.0.0.1:${server.address().port}`;
  gateway.serverArgs = ["--ca", certificate, "--map-host", `${host}:443=${address}`];
  gateway.next = async () => {
    while (gateway.told.length === 0) {
      await new Promise((resolve) => gateway.waiting.push(resolve));
    }
    return gateway.told.shift();
  };
  return gateway;
}
