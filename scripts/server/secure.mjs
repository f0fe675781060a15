// The https listener: Node ends TLS and passes requests on to one of the Worker's own sockets.
//
// workerd closes a connection that has been idle for five seconds, often just when the client
// sends its next request. Clients keep theirs for a minute: this end waits longer.
import http from "node:http";
import https from "node:https";
import { pipeline } from "node:stream";

const clientIdleMs = 75_000;
const workerIdleMs = 4_000;

/** Resolves once it listens; the result has `close()`. */
export async function listenSecurely({ host, port }, tls, worker) {
  const agent = new http.Agent({ keepAlive: true, timeout: workerIdleMs });
  const options = { key: tls.key, cert: tls.certificate, keepAliveTimeout: clientIdleMs };
  const target = { host: worker.host, port: worker.port, agent };
  const forward = (request, response) => pass(request, response, target);
  const server = https.createServer(options, forward);
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port, exclusive: true }, resolve);
  });
  return {
    close() {
      server.close();
      server.closeAllConnections();
      agent.destroy();
    },
  };
}

function pass(request, response, worker) {
  const { method, url: path } = request;
  const sent = http.request({ ...worker, method, path, headers: withoutHop(request.headers) });
  sent.once("response", (answer) => {
    response.writeHead(answer.statusCode, withoutHop(answer.headers));
    pipeline(answer, response, () => {});
  });
  sent.on("error", () => {
    if (response.headersSent) response.destroy();
    else response.writeHead(502).end();
  });
  // Nobody waits for the answer any more: the Worker need not either. See `plain.mjs`.
  response.once("close", () => {
    if (!sent.destroyed) sent.socket?.resetAndDestroy();
    sent.destroy();
  });
  pipeline(request, sent, () => {});
}

/** What belongs to one connection alone is each end's own affair. */
function withoutHop(headers) {
  const { connection, expect, "keep-alive": keepAlive, ...rest } = headers;
  return rest;
}
