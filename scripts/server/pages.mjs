// The static pages of www, as Cloudflare serves them: folders by their index.html.
import fs from "node:fs/promises";
import path from "node:path";
import { Response } from "miniflare";

const types = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".ico": "image/x-icon",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
};

/** A service that answers 404 where there is no page, and the Worker is asked then. */
export function servePages(folder) {
  return async (request) => {
    const { pathname, search } = new URL(request.url);
    const file = fileOf(folder, pathname);
    if (!file) return new Response(null, { status: 404 });
    const stat = await fs.stat(file).catch(() => undefined);
    if (stat?.isDirectory()) {
      const hasPage = await fs.stat(path.join(file, "index.html")).catch(() => undefined);
      if (!hasPage) return new Response(null, { status: 404 });
      return new Response(null, { status: 307, headers: { location: `${pathname}/${search}` } });
    }
    if (!stat?.isFile()) return new Response(null, { status: 404 });
    const type = types[path.extname(file)] ?? "application/octet-stream";
    const headers = { "content-type": type, "cache-control": "public, max-age=0, must-revalidate" };
    return new Response(await fs.readFile(file), { headers });
  };
}

function fileOf(folder, pathname) {
  let name;
  try {
    name = decodeURIComponent(pathname);
  } catch {
    return undefined;
  }
  const file = path.join(folder, name.endsWith("/") ? `${name}index.html` : name);
  return file.startsWith(folder + path.sep) && !file.includes("\0") ? file : undefined;
}
