// Runs other programs, with their output shown, and says plainly what failed.
import { spawn, spawnSync } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");

/** A failure that is explained by its message alone: printed without a stack. */
export class Complaint extends Error {}

/** Ends the process with a Complaint's sentence, or with the stack of anything unexpected. */
export function fail(error) {
  console.error(error instanceof Complaint ? `error: ${error.message}` : error);
  process.exit(1);
}

export function say(text) {
  console.log(`▸ ${text}`);
}

/** Runs to the end with the terminal's input and output; a bad exit status is a Complaint. */
export function run(command, args, { env = {}, cwd = root } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", "inherit", "inherit"],
    });
    child.once("error", (error) => reject(new Complaint(`${command}: ${error.message}`)));
    child.once("exit", (code, signal) => {
      if (code === 0) return resolve();
      reject(new Complaint(`${command} ${args.join(" ")} ended with ${signal ?? code}`));
    });
  });
}

/** The standard output of a quick command, or undefined when it is missing or fails. */
export function output(command, args, { env = {} } = {}) {
  const options = { cwd: root, encoding: "utf8", env: { ...process.env, ...env } };
  const result = spawnSync(command, args, options);
  return result.status === 0 ? result.stdout.trim() : undefined;
}
