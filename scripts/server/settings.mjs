// What the local server can be told, as flags or as environment variables of the same meaning.
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { Complaint, root } from "../run.mjs";

const flags = [
  ["server-name", "NAME", "part after the colon of every id (localhost)"],
  ["listen", "URL", "http://ADDRESS:PORT or https://ADDRESS:PORT; may be repeated; port 0 takes\n"
    + "a free one (http://127.0.0.1:8008)", "many"],
  ["tls-cert", "FILE", "certificate chain for the https listener, PEM"],
  ["tls-key", "FILE", "its private key, PEM"],
  ["data", "FOLDER", "where everything is kept (.data)"],
  ["signing-key", "FILE", "the server's signing key, in Synapse's format (else it makes one)"],
  ["registration-shared-secret", "SECRET", "allows /_synapse/admin/v1/register"],
  ["ca", "FILE", "certificate authority to trust besides the usual ones, PEM"],
  ["map-host", "HOST:PORT=ADDRESS:PORT", "where a request to another server really goes; may be\n"
    + "repeated; without one the system's resolver decides", "many"],
  ["var", "NAME=VALUE", "any variable of wrangler.toml; may be repeated (also MYELIN_VAR_NAME)",
    "many"],
];

export function helpText(command) {
  const lines = flags.map(([name, value, meaning]) => {
    const text = meaning.replaceAll("\n", `\n${" ".repeat(8)}`);
    return `  --${name} ${value}\n        ${text}`;
  });
  return `Usage: ${command} [flags]

${lines.join("\n")}
  --help

Each flag can also be given as an environment variable, --server-name as MYELIN_SERVER_NAME and so
on; the values of a repeatable one are separated by spaces. A flag goes before its variable.`;
}

/** Settings from flags and environment, or `{ help: true }`. */
export function readSettings(args, env) {
  const options = { help: { type: "boolean" } };
  for (const [name, , , many] of flags) options[name] = { type: "string", multiple: !!many };
  const given = parse(args, options);
  if (given.help) return { help: true };
  const value = (name) => given[name] ?? env[environmentName(name)];
  const list = (name) => given[name] ?? env[environmentName(name)]?.split(/\s+/).filter(Boolean);

  return {
    serverName: value("server-name"),
    listeners: (list("listen") ?? ["http://127.0.0.1:8008"]).map(readListener),
    tls: readTls(value("tls-cert"), value("tls-key")),
    dataFolder: path.resolve(root, value("data") ?? ".data"),
    signingKey: readText(value("signing-key")),
    registrationSharedSecret: value("registration-shared-secret"),
    authority: readText(value("ca")),
    hostMap: new Map((list("map-host") ?? []).map((entry) => readPair("map-host", entry))),
    vars: { ...environmentVars(env), ...readVars(given.var ?? []) },
  };
}

function parse(args, options) {
  try {
    return parseArgs({ args, options, strict: true }).values;
  } catch (error) {
    throw new Complaint(`${error.message} (--help lists the flags)`);
  }
}

function environmentName(flag) {
  return `MYELIN_${flag.toUpperCase().replaceAll("-", "_")}`;
}

function environmentVars(env) {
  const prefix = "MYELIN_VAR_";
  const named = Object.entries(env).filter(([name]) => name.startsWith(prefix));
  return Object.fromEntries(named.map(([name, value]) => [name.slice(prefix.length), value]));
}

function readVars(entries) {
  return Object.fromEntries(entries.map((entry) => readPair("var", entry)));
}

function readPair(flag, entry) {
  const at = entry.indexOf("=");
  if (at < 1) throw new Complaint(`--${flag} ${entry}: a name, "=" and a value are expected.`);
  return [entry.slice(0, at), entry.slice(at + 1)];
}

function readListener(text) {
  const found = /^(https?):\/\/(\[[0-9a-fA-F:]+\]|[^:/[\]]+):(\d{1,5})\/?$/.exec(text);
  if (!found || Number(found[3]) > 65535) {
    const form = "http://ADDRESS:PORT or https://ADDRESS:PORT";
    throw new Complaint(`--listen ${text}: ${form} is expected.`);
  }
  return { scheme: found[1], host: found[2].replace(/^\[|\]$/g, ""), port: Number(found[3]) };
}

function readTls(certificateFile, keyFile) {
  if (!certificateFile && !keyFile) return undefined;
  if (!certificateFile || !keyFile) {
    throw new Complaint("--tls-cert and --tls-key belong together.");
  }
  return { certificate: readText(certificateFile), key: readText(keyFile) };
}

function readText(file) {
  if (!file) return undefined;
  try {
    return fs.readFileSync(file, "utf8");
  } catch (error) {
    throw new Complaint(`${file} cannot be read: ${error.message}`);
  }
}
