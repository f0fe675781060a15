// Requests that the Worker makes to other servers, with additional trust and mapped hosts.
import { lookup } from "node:dns";
import { BlockList, isIP } from "node:net";
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

/**
 * The network without the machine's own part of it: for addresses that come from people. The
 * addresses that names lead to are judged where the connection is made.
 */
export function publicNetwork({ authority, hostMap }) {
  const extra = authority ? [authority] : [];
  const agent = new Agent({ connect: mappedConnector(hostMap, extra, publicOnly) });
  return async (request) => {
    const refused = () => new Response(null, { status: 403, headers: { "x-not-public": "1" } });
    return isPrivateLiteral(request.url, hostMap) ? refused() : forward(request, agent, refused);
  };
}

const privateCode = "EPRIVATE";
const privateRanges = privateList();

/** What `protocol` refuses in literal addresses, once more for those that names lead to. */
function privateList() {
  const list = new BlockList();
  const ranges = [
    ...["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"],
    ...["172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"],
    ...["198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"],
    ...["::/3", "4000::/2", "8000::/1", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"],
  ];
  for (const range of ranges) {
    const [address, bits] = range.split("/");
    list.addSubnet(address, Number(bits), isIP(address) === 6 ? "ipv6" : "ipv4");
  }
  return list;
}

function isPrivate(address, family) {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (mapped) return privateRanges.check(mapped[1], "ipv4");
  return privateRanges.check(address, family === 6 ? "ipv6" : "ipv4");
}

function isPrivateLiteral(url, hostMap) {
  const { hostname, port, protocol } = new URL(url);
  if (hostMap.has(`${hostname}:${port || (protocol === "https:" ? "443" : "80")}`)) return false;
  const literal = hostname.replace(/^\[|\]$/g, "");
  return isIP(literal) !== 0 && isPrivate(literal, isIP(literal));
}

/** A lookup that finds public addresses only. */
function publicOnly(hostname, options, callback) {
  lookup(hostname, { ...options, all: true }, (error, addresses) => {
    if (error) return callback(error);
    const found = addresses.filter(({ address, family }) => !isPrivate(address, family));
    if (found.length === 0) {
      return callback(Object.assign(new Error(`${hostname} is private`), { code: privateCode }));
    }
    return options.all ? callback(null, found) : callback(null, found[0].address, found[0].family);
  });
}

function mappedConnector(hostMap, extra, lookupName) {
  const ca = [...tls.rootCertificates, ...extra];
  const connectMapped = buildConnector({ ca });
  const connect = lookupName ? buildConnector({ ca, lookup: lookupName }) : connectMapped;
  return (options, callback) => {
    const port = options.port || (options.protocol === "https:" ? "443" : "80");
    const mapped = hostMap.get(`${options.hostname}:${port}`);
    if (!mapped) return connect(options, callback);
    const { hostname, port: mappedPort } = new URL(`tcp://${mapped}`);
    const servername = options.servername || options.hostname;
    const host = `${hostname}:${mappedPort}`;
    return connectMapped({ ...options, hostname, port: mappedPort, host, servername }, callback);
  };
}

async function forward(request, agent, refused) {
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
    if (error.code === privateCode && refused) return refused();
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
