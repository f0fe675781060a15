// The local server's main module: the Worker itself, behind what Cloudflare's network does in
// production: static pages first, and the client's address in a header.
import Worker from "./index.js";
export * from "./index.js";

const addressHeader = "CF-Connecting-IP";

export default class Front extends Worker {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (!isWorkerFirst(this.env.WORKER_FIRST, pathname)) {
      const page = await this.env.PAGES.fetch(new Request(request.url, { redirect: "manual" }));
      if (page.status !== 404) return page;
    }
    return super.fetch(withAddress(request));
  }
}

/** Patterns end with a star; one that begins with ! takes paths out again. */
function isWorkerFirst(patterns, pathname) {
  const matches = (pattern) => pathname.startsWith(pattern.slice(0, -1));
  const excluded = patterns.filter(isNegative);
  const included = patterns.filter((pattern) => !isNegative(pattern));
  return included.some(matches) && !excluded.some((pattern) => matches(pattern.slice(1)));
}

const isNegative = (pattern) => pattern.startsWith("!");

/** workerd does not tell who called: a proxy in front, or a test, names the address. */
function withAddress(request) {
  if (request.headers.has(addressHeader)) return request;
  const headers = new Headers(request.headers);
  headers.set(addressHeader, "127.0.0.1");
  return new Request(request, { headers });
}
