// Chromium without a window, driven over its debugging pipe as a person would use it: with a
// mouse, a keyboard, and by looking at the page.
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { chromiumFile } from "../../scripts/build/chromium.mjs";
import { root, temporaryFolder } from "./harness.mjs";

const waitMs = 30_000;
const flags = [
  "--headless=new",
  "--remote-debugging-pipe",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-dev-shm-usage",
  "--disable-gpu",
  "--disable-sync",
  "--hide-scrollbars",
  "--no-default-browser-check",
  "--no-first-run",
  "--password-store=basic",
  // Its sandbox needs rights that it does not have where all runs as root.
  ...(process.getuid() === 0 ? ["--no-sandbox"] : []),
];

/** Where pictures of pages are kept for people to look at. */
export const screenshots = path.join(root, "build/screenshots");

/** A browser of its own with one page of `size`; it ends with the test. */
export async function openBrowser(t, { width, height }) {
  const folder = temporaryFolder();
  const args = [...flags, `--user-data-dir=${folder}`];
  const stdio = ["ignore", "ignore", "ignore", "pipe", "pipe"];
  const child = spawn(chromiumFile(), args, { stdio });
  const ended = new Promise((resolve) => child.once("close", resolve));
  const page = new Page(child);
  t.after(async () => {
    await page.close();
    await ended;
    await fs.promises.rm(folder, { recursive: true, force: true, maxRetries: 10 });
  });
  await page.open(width, height);
  return page;
}

export class Page {
  #pipe;
  #rest = "";
  #last = 0;
  #calls = new Map();
  #session;
  #loaded = () => {};
  /** What the page writes to its console as a warning or an error, and what it fails to load. */
  complaints = [];

  constructor(child) {
    this.#pipe = child.stdio[3];
    child.stdio[4].setEncoding("utf8").on("data", (text) => this.#read(text));
    child.once("error", (error) => this.#rejectAll(error));
    child.once("close", () => this.#rejectAll(new Error("The browser has ended.")));
  }

  async open(width, height) {
    const { targetId } = await this.#call("Target.createTarget", { url: "about:blank" });
    const attach = { targetId, flatten: true };
    this.#session = (await this.#call("Target.attachToTarget", attach)).sessionId;
    for (const domain of ["Page", "Runtime", "Log", "DOM"]) await this.#call(`${domain}.enable`);
    const screen = { width, height, deviceScaleFactor: 1, mobile: false };
    await this.#call("Emulation.setDeviceMetricsOverride", screen);
  }

  /** Ends the browser. */
  close() {
    this.#session = undefined;
    return this.#call("Browser.close").catch(() => {});
  }

  /** Resolves when the page and its scripts have been loaded. */
  async goTo(url) {
    const loaded = new Promise((resolve) => (this.#loaded = resolve));
    await this.#call("Page.navigate", { url });
    await loaded;
  }

  /** The value of a function that runs in the page, with these arguments. */
  async run(look, ...args) {
    const expression = `(${look})(...${JSON.stringify(args)})`;
    const options = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails: thrown } = await this.#call("Runtime.evaluate", options);
    if (thrown) throw new Error(thrown.exception?.description ?? thrown.text);
    return result.value;
  }

  /** Asks the page until `look` gives something true; resolves with it. */
  async until(what, look, ...args) {
    for (const end = Date.now() + waitMs; Date.now() < end; ) {
      const found = await this.run(look, ...args);
      if (found) return found;
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    const text = await this.run(() => document.body.innerText);
    const complaints = this.complaints.join("\n");
    throw new Error(`The page never showed ${what}; it shows:\n${text}\n${complaints}`);
  }

  /** Presses the mouse on the element, which has to be there, in sight and uncovered. */
  async click(selector) {
    const at = await this.until(selector, placeOf, selector);
    const mouse = (type, more) => this.#call("Input.dispatchMouseEvent", { type, ...at, ...more });
    const left = { button: "left", clickCount: 1 };
    await mouse("mouseMoved");
    // Both at once: the page shall not draw itself anew in between.
    await Promise.all([mouse("mousePressed", left), mouse("mouseReleased", left)]);
  }

  /** Replaces the text of a field. */
  async fill(selector, text) {
    await this.click(selector);
    await this.run(() => document.execCommand("selectAll"));
    await this.#call("Input.insertText", { text });
  }

  async press(key) {
    const code = { Enter: 13, Escape: 27 }[key];
    const event = { key, code: key, windowsVirtualKeyCode: code, text: code === 13 ? "\r" : "" };
    await this.#call("Input.dispatchKeyEvent", { type: "keyDown", ...event });
    await this.#call("Input.dispatchKeyEvent", { type: "keyUp", ...event });
  }

  /** Chooses files in a file field. */
  async attach(selector, ...files) {
    const { root: document } = await this.#call("DOM.getDocument");
    const query = { nodeId: document.nodeId, selector };
    const { nodeId } = await this.#call("DOM.querySelector", query);
    await this.#call("DOM.setFileInputFiles", { nodeId, files });
  }

  async screenshot(name) {
    const { data } = await this.#call("Page.captureScreenshot", { format: "png" });
    fs.mkdirSync(screenshots, { recursive: true });
    fs.writeFileSync(path.join(screenshots, `${name}.png`), Buffer.from(data, "base64"));
  }

  #call(method, params = {}) {
    const id = (this.#last += 1);
    this.#pipe.write(`${JSON.stringify({ id, method, params, sessionId: this.#session })}\0`);
    return new Promise((resolve, reject) => this.#calls.set(id, { method, resolve, reject }));
  }

  #read(text) {
    const messages = (this.#rest + text).split("\0");
    this.#rest = messages.pop();
    for (const message of messages) this.#take(JSON.parse(message));
  }

  #take({ id, result, error, method, params }) {
    if (method) return this.#listen(method, params);
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    if (error) call?.reject(new Error(`${call.method}: ${error.message}`));
    else call?.resolve(result);
  }

  #listen(method, params) {
    if (method === "Page.loadEventFired") this.#loaded();
    else if (method === "Runtime.consoleAPICalled" && ["warning", "error"].includes(params.type)) {
      const words = params.args.map(({ value, description }) => value ?? description);
      this.complaints.push(`${params.type} ${words.join(" ")}`);
    } else if (method === "Runtime.exceptionThrown") {
      const { exception, text } = params.exceptionDetails;
      this.complaints.push(`exception ${exception?.description ?? text}`);
    } else if (method === "Log.entryAdded" && ["warning", "error"].includes(params.entry.level)) {
      this.complaints.push(`${params.entry.level} ${params.entry.text} ${params.entry.url ?? ""}`);
    }
  }

  #rejectAll(error) {
    for (const { reject } of this.#calls.values()) reject(error);
    this.#calls.clear();
  }
}

/** The middle of an element, once a click there would reach it. Runs in the page. */
function placeOf(selector) {
  const element = document.querySelector(selector);
  if (!element || element.disabled) return undefined;
  element.scrollIntoView({ block: "nearest" });
  const { left, top, width, height } = element.getBoundingClientRect();
  const [x, y] = [left + width / 2, top + height / 2];
  return element.contains(document.elementFromPoint(x, y)) ? { x, y } : undefined;
}
