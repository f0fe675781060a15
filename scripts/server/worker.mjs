// Miniflare's options, derived from wrangler.toml: bindings are defined there and nowhere else.
import fs from "node:fs";
import path from "node:path";
import { Log, LogLevel } from "miniflare";
import { parse } from "smol-toml";
import { buildFolder } from "../build/wasm.mjs";
import { root } from "../run.mjs";
import { outboundService, publicNetwork } from "./outbound.mjs";
import { servePages } from "./pages.mjs";

export function readConfiguration() {
  return parse(fs.readFileSync(path.join(root, "wrangler.toml"), "utf8"));
}

/** The whole server for `new Miniflare()`; `vars` are the Worker's variables, complete. */
export function miniflareOptions(config, settings, vars) {
  return {
    name: config.name,
    compatibilityDate: config.compatibility_date,
    compatibilityFlags: config.compatibility_flags ?? [],
    modulesRoot: buildFolder,
    modules: modules(config),
    bindings: { ...vars, WORKER_FIRST: config.assets.run_worker_first },
    serviceBindings: {
      PAGES: servePages(path.join(root, config.assets.directory)),
      PUBLIC_NETWORK: publicNetwork(settings),
    },
    outboundService: outboundService(settings),
    cf: false,
    log: new Log(LogLevel.WARN),
    ...stores(config, settings.dataFolder),
    ...sockets(settings),
  };
}

function modules(config) {
  const at = (name) => path.join(buildFolder, name);
  const front = path.join(root, "scripts/server/front.js");
  return [
    { type: "ESModule", path: at("front.js"), contents: fs.readFileSync(front, "utf8") },
    { type: "ESModule", path: path.join(root, config.main) },
    { type: "CompiledWasm", path: at("index_bg.wasm") },
  ];
}

/** Databases, objects and buckets, in the places where wrangler's `--persist-to` looks for them. */
function stores(config, dataFolder) {
  const at = (name) => path.join(dataFolder, "v3", name);
  const databases = config.d1_databases;
  const objects = config.durable_objects.bindings;
  const withSqlite = new Set(config.migrations.flatMap((step) => step.new_sqlite_classes ?? []));
  const object = ({ name, class_name: className }) => [
    name,
    { className, useSQLite: withSqlite.has(className) },
  ];
  return {
    d1Databases: Object.fromEntries(databases.map((d) => [d.binding, d.database_id ?? d.binding])),
    r2Buckets: Object.fromEntries(config.r2_buckets.map((b) => [b.binding, b.bucket_name])),
    durableObjects: Object.fromEntries(objects.map(object)),
    d1Persist: at("d1"),
    r2Persist: at("r2"),
    durableObjectsPersist: at("do"),
  };
}

/**
 * Requests go on to the Worker's own socket. Miniflare's entry point is twice as slow: it has a
 * free port of the loopback that nobody uses.
 */
function sockets({ inner }) {
  const { host, port } = inner;
  return { host: "127.0.0.1", port: 0, unsafeDirectSockets: [{ host, port }] };
}
