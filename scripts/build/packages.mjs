// The npm packages of package-lock.json: installed by the first command in a fresh clone.
import fs from "node:fs";
import path from "node:path";
import { Complaint, output, root, run, say } from "../run.mjs";

const nodeMinimum = [20, 11];

export async function ensurePackages() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < nodeMinimum[0] || (major === nodeMinimum[0] && minor < nodeMinimum[1])) {
    const wanted = nodeMinimum.join(".");
    throw new Complaint(
      `Node ${process.versions.node} is too old: install Node ${wanted} or newer from nodejs.org.`,
    );
  }
  if (areInstalled()) return;
  if (output("npm", ["--version"]) === undefined) {
    throw new Complaint("npm is missing: it comes with Node from https://nodejs.org.");
  }
  say("Installing npm packages");
  await run("npm", ["ci", "--no-audit", "--no-fund"]);
}

/** npm keeps a copy of what it installed; every locked package for this machine must be in it. */
function areInstalled() {
  const installedFile = path.join(root, "node_modules/.package-lock.json");
  if (!fs.existsSync(installedFile)) return false;
  const installed = JSON.parse(fs.readFileSync(installedFile, "utf8")).packages;
  const locked = JSON.parse(fs.readFileSync(path.join(root, "package-lock.json"), "utf8")).packages;
  return Object.entries(locked).every(
    ([name, { version, optional }]) =>
      name === "" || installed[name]?.version === version || (optional && !installed[name]),
  );
}
