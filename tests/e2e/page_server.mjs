// Serves the page of tests/e2e/page, bundled with matrix-js-sdk, as any website would.
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { build } from "esbuild";
import { root } from "./harness.mjs";

const folder = path.join(root, "tests/e2e/page");

/** Resolves with the page's address; it is there for the length of test `t`. */
export async function servePage(t) {
  const files = {
    "/": ["text/html", fs.readFileSync(path.join(folder, "index.html"))],
    "/style.css": ["text/css", fs.readFileSync(path.join(folder, "style.css"))],
    "/main.js": ["text/javascript", await bundle()],
    "/favicon.ico": ["image/x-icon", ""],
  };
  const server = http.createServer((request, response) => {
    const [type, content] = files[new URL(request.url, "http://page").pathname] ?? [];
    if (type === undefined) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": `${type}; charset=utf-8` }).end(content);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  t.after(() => server.closeAllConnections());
  return `http://127.0.0.1:${server.address().port}/`;
}

async function bundle() {
  const { outputFiles } = await build({
    entryPoints: [path.join(folder, "main.mjs")],
    bundle: true,
    format: "esm",
    write: false,
    logLevel: "error",
    define: { global: "globalThis" },
  });
  return outputFiles[0].contents;
}
