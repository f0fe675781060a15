// The local server's main module: the Worker itself, behind what Cloudflare's network does in
// production: static pages first, and the client's address in a header.
import Worker from "./index.js";
export * from "./index.js";

export default class Front extends Worker {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (!this.env.WORKER_FIRST.some((pattern) => pathname.startsWith(pattern.slice(0, -1)))) {
      const page = await this.env.PAGES.fetch(new Request(request.url, { redirect: "manual" }));
      if (page.status !== 404) return page;
    }
    const headers = new Headers(request.headers);
    headers.set("CF-Connecting-IP", clientAddress(request));
    return super.fetch(new Request(request, { headers }));
  }
}

/** workerd knows the peer as `address:port`, with brackets around an IPv6 address. */
function clientAddress(request) {
  const peer = request.cf?.clientIp;
  if (!peer) return request.headers.get("CF-Connecting-IP") ?? "127.0.0.1";
  return peer.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
}
