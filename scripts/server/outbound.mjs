// Requests that the Worker makes to other servers, with additional trust and mapped hosts.
import tls from "node:tls";
import { Response } from "miniflare";
import { Agent, buildConnector, request as send } from "undici";

/** Miniflare's `outboundService`. A host map needs Node in between; otherwise workerd goes out. */
export function outboundService({ authority, hostMap }) {
  const extra = authority ? [authority] : [];
  if (hostMap.size === 0) {
    const tlsOptions = { trustBrowserCas: true, trustedCertificates: extra };
    return { network: { allow: ["public", "private", "local"], deny: [], tlsOptions } };
  }
  const agent = new Agent({ connect: mappedConnector(hostMap, extra) });
  return (request) => forward(request, agent);
}

function mappedConnector(hostMap, extra) {
  const connect = buildConnector({ ca: [...tls.rootCertificates, ...extra] });
  return (options, callback) => {
    const port = options.port || (options.protocol === "https:" ? "443" : "80");
    const mapped = hostMap.get(`${options.hostname}:${port}`);
    if (!mapped) return connect(options, callback);
    const { hostname, port: mappedPort } = new URL(`tcp://${mapped}`);
    const servername = options.servername || options.hostname;
    const host = `${hostname}:${mappedPort}`;
    return connect({ ...options, hostname, port: mappedPort, host, servername }, callback);
  };
}

async function forward(request, agent) {
  const headers = Object.fromEntries(request.headers);
  for (const name of ["host", "connection", "transfer-encoding", "content-length"]) {
    delete headers[name];
  }
  try {
    const answer = await send(request.url, {
      method: request.method,
      headers: { ...headers, "accept-encoding": "identity" },
      body: request.body ?? undefined,
      dispatcher: agent,
    });
    return toResponse(answer);
  } catch (error) {
    const reason = `${error.code ?? error.name}: ${error.message}`;
    return new Response(reason, { status: statusOf(error) });
  }
}

function toResponse({ statusCode, headers, body }) {
  const response = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    if (name === "transfer-encoding" || name === "connection") continue;
    for (const one of [value].flat()) response.append(name, one);
  }
  const empty = [101, 204, 205, 304].includes(statusCode);
  if (empty) body.resume();
  return new Response(empty ? null : body, { status: statusCode, headers: response });
}

/** The status that Cloudflare's network answers for a server that it cannot reach. */
function statusOf({ code = "" }) {
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") return 530;
  if (/CERT|SIGNATURE|ISSUER|ALTNAME/.test(code)) return 526;
  return /TIMEOUT|ETIMEDOUT/.test(code) ? 522 : 521;
}
