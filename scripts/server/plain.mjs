// The http listener: bytes go on as they are to one of the Worker's own sockets.
//
// A client that hangs up ends its side of the connection. workerd takes that for the end of what
// it has to say, and would let its requests wait on; a reset tells it that the client has gone.
import net from "node:net";

// As many may come back at the same moment, after a restart.
const backlogMax = 4096;

/** Resolves once it listens; the result has `close()`. */
export async function listenPlainly({ host, port }, worker) {
  const connections = new Set();
  const target = { host: worker.host, port: worker.port, noDelay: true };
  const server = net.createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
    connections.add(client);
    client.once("close", () => connections.delete(client));
    relay(client, net.connect(target));
  });
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port, exclusive: true, backlog: backlogMax }, resolve);
  });
  return {
    close() {
      server.close();
      connections.forEach((client) => client.destroy());
    },
  };
}

function relay(client, worker) {
  client.pipe(worker, { end: false });
  worker.pipe(client, { end: false });
  client.once("end", () => worker.resetAndDestroy());
  client.once("close", () => worker.resetAndDestroy());
  client.on("error", () => worker.resetAndDestroy());
  worker.once("end", () => client.destroySoon());
  // A reset is no end: without this the client's half of the connection would stay for ever.
  worker.once("close", () => client.destroySoon());
  worker.on("error", () => client.destroy());
}
