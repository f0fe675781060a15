// The browser that end-to-end tests look through: any Chromium of this machine.
import { Complaint, output, say } from "../run.mjs";
import { hasDebianPackages, installDebianPackages } from "./debian.mjs";

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/** The program, or undefined. The variable CHROMIUM names one before all others. */
export function chromiumFile() {
  const candidates = process.env.CHROMIUM ? [process.env.CHROMIUM] : names;
  return candidates.find((program) => output(program, ["--version"]) !== undefined);
}

export async function ensureChromium() {
  if (chromiumFile() !== undefined) return;
  if (!process.env.CHROMIUM && hasDebianPackages() && process.getuid() === 0) {
    say("Installing Debian's Chromium for the tests");
    return installDebianPackages(["chromium"]);
  }
  throw new Complaint(
    "Chromium is missing: install it, or name a program like it in the variable CHROMIUM.",
  );
}
