// The addresses that the server is bound to, settled before it starts.
import net from "node:net";
import { Complaint } from "../run.mjs";

/** Replaces port 0 by a free one, and complains about a port that is taken. */
export async function settleListeners(listeners, tls) {
  const secure = listeners.filter(({ scheme }) => scheme === "https");
  if (secure.length > 1) throw new Complaint("Only one https listener is possible.");
  if (secure.length > 0 && !tls) {
    throw new Complaint("An https listener needs --tls-cert and --tls-key.");
  }
  return Promise.all(
    listeners.map(async (listener) => {
      const port = await bindOnce(listener);
      return { ...listener, port, url: `${listener.scheme}://${urlHost(listener.host)}:${port}` };
    }),
  );
}

function bindOnce({ host, port }) {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once("error", (error) => {
      const reason = error.code === "EADDRINUSE" ? "is in use by another program" : error.message;
      reject(new Complaint(`${urlHost(host)}:${port} ${reason}; --listen chooses another.`));
    });
    server.listen({ host, port, exclusive: true }, () => {
      const taken = server.address().port;
      server.close(() => resolve(taken));
    });
  });
}

function urlHost(host) {
  return net.isIPv6(host) ? `[${host}]` : host;
}
