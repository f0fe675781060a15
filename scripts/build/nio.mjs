// matrix-nio, which most Python bots are built on, with its encryption: in a virtual environment in
// the user's cache folder, made once per version.
import fs from "node:fs";
import path from "node:path";
import { Complaint, output, run, say } from "../run.mjs";
import { cacheFolder } from "./tools.mjs";

const version = "0.26.0";
const folder = path.join(cacheFolder(), `matrix-nio-e2e-${version}`);

/** The python that has the library. */
export const nioPython = path.join(folder, "bin/python");

export async function ensureNio() {
  const stamp = path.join(folder, "installed");
  if (fs.existsSync(stamp)) return;
  if (output("python3", ["--version"]) === undefined) {
    throw new Complaint("python3 is missing: install Python 3.10 or newer with its venv.");
  }
  say(`Installing matrix-nio ${version} for the tests (once on this machine)`);
  fs.rmSync(folder, { recursive: true, force: true });
  await run("python3", ["-m", "venv", folder]);
  const install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
  await run(nioPython, [...install, `matrix-nio[e2e]==${version}`]);
  fs.writeFileSync(stamp, "");
}
