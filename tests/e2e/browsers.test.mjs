// Two browsers with a small page on matrix-js-sdk (tests/e2e/page): two people have a conversation
// with pictures, and each of them sees on the screen what the other one does.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { openBrowser } from "./browser.mjs";
import { startServer, temporaryFolder } from "./harness.mjs";
import { servePage } from "./page_server.mjs";
import { evening, night, paintHills } from "./picture.mjs";

const password = "a long passphrase";

/** What the library complains of although the server has done nothing wrong. */
const expectedComplaints = [
  // Rules that it would like every server to have.
  /Adding default global \w+ push rule/,
  /\[MatrixRTCSessionManager\] Got room state event for unknown room/,
  // Of a thread it asks for all that relates to its root, also for reactions, which are not in it.
  /Ignoring event=.* that does not belong in timeline/,
];

/** A person in a browser: what is done there, and what there is to be seen. */
class Person {
  constructor(page, name) {
    this.page = page;
    this.name = name;
  }

  static async signIn(t, server, address, name) {
    const user = name.toLowerCase();
    const { access_token: token, user_id: id } = await server.register(user, password);
    const profile = `/_matrix/client/v3/profile/${encodeURIComponent(id)}/displayname`;
    await server.api(token, "PUT", profile, { displayname: name });
    const page = await openBrowser(t, { width: 1200, height: 800 });
    await page.goTo(`${address}?server=${encodeURIComponent(server.url)}`);
    await page.fill("[name=user]", user);
    await page.fill("[name=password]", password);
    await page.click("#login button");
    await page.until("the app", (name) => document.querySelector("#me").innerText === name, name);
    return new Person(page, name);
  }

  /** Waits until the text is in the element; resolves with the element's whole text. */
  sees(selector, text) {
    const look = (selector, text) =>
      [...document.querySelectorAll(selector)]
        .map((element) => element.innerText)
        .find((shown) => shown.includes(text));
    return this.page.until(`"${text}" in ${selector}`, look, selector, text);
  }

  /** Waits until no such element is there, or it is empty. */
  seesNo(selector) {
    const look = (selector) => !document.querySelector(selector)?.innerText;
    return this.page.until(`no ${selector}`, look, selector);
  }

  async writes(form, text) {
    await this.page.fill(`${form} [name=text]`, text);
    await this.page.press("Enter");
  }

  /** Waits for a picture to be shown; resolves with its kind of address and its size. */
  seesPicture(list, name) {
    const look = (list, name) => {
      const image = document.querySelector(`${list} img[alt="${name}"]`);
      if (!image?.complete || image.naturalWidth === 0) return undefined;
      const { naturalWidth: width, naturalHeight: height, src } = image;
      return { width, height, protocol: new URL(src).protocol };
    };
    return this.page.until(`the picture ${name} in ${list}`, look, list, name);
  }

  /** Presses one of the buttons of the message with this text or picture. */
  async acts(action, text) {
    const look = (text) =>
      [...document.querySelectorAll("#messages .message")]
        .find((message) => message.innerText.includes(text))?.dataset.key;
    const event = await this.page.until(text, look, text);
    await this.page.click(`#messages [data-key="${event}"] .actions [data-action=${action}]`);
  }
}

/** The files of the pictures that are sent. */
function paintPictures(t) {
  const folder = temporaryFolder();
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const save = (name, picture) => {
    const file = path.join(folder, name);
    fs.writeFileSync(file, picture);
    return file;
  };
  return {
    evening: save("evening.png", paintHills(1200, 800, evening)),
    night: save("night.png", paintHills(900, 900, night)),
  };
}

async function meet(alice, bob) {
  await alice.page.fill("#create [name=name]", "Evening walk");
  await alice.page.fill("#create [name=invite]", "@bob:test");
  await alice.page.click("#create button");
  await alice.sees("#room", "Evening walk");
  await bob.sees("#rooms button", "Join");
  await bob.page.click("#rooms button");
  await bob.sees("#room", "Evening walk");
  await bob.sees("#members", "Alice, Bob");
  await alice.sees("#members", "Alice, Bob");
}

async function sharePicture(alice, bob, file) {
  await alice.writes("#composer", "Look where I went yesterdy");
  await alice.page.attach("#composer input[type=file]", file);
  await bob.sees("#messages .text", "Look where I went");
  for (const person of [alice, bob]) {
    const shown = await person.seesPicture("#messages", "evening.png");
    assert.deepEqual(shown, { width: 640, height: 426, protocol: "blob:" }, person.name);
  }
  await alice.sees("#messages .readers", "Read by Bob");
}

async function answer(alice, bob) {
  await bob.acts("react", "evening.png");
  await alice.sees("#messages .reactions", "❤ 1");
  await alice.acts("react", "evening.png");
  await bob.sees("#messages .reactions", "❤ 2");

  await bob.page.fill("#composer [name=text]", "Beautiful! Is that the long");
  await alice.sees("#typing", "Bob is typing…");
  await alice.page.screenshot("alice-1-typing");
  await bob.writes("#composer", "Beautiful! Is that the long way round?");
  await alice.sees("#messages .text", "the long way round?");
  await alice.seesNo("#typing");

  await alice.acts("edit", "Look where I went");
  await alice.writes("#composer", "Look where I went yesterday");
  await bob.sees("#messages .text", "Look where I went yesterday (edited)");
}

async function talkInThread(alice, bob, file) {
  await bob.acts("thread", "evening.png");
  await bob.writes("#replier", "Which hill is that?");
  await alice.sees("#messages button.replies", "1 reply");
  await alice.sees("#messages button.replies .badge", "1");
  await alice.sees("#rooms .badge", "1");
  await alice.seesNo("#typing");
  await alice.page.screenshot("alice-2-unread-thread");
  await alice.page.click("#messages button.replies");
  await alice.sees("#replies .text", "Which hill is that?");
  await alice.seesNo("#messages button.replies .badge");
  await alice.seesNo("#rooms .badge");
  await bob.sees("#replies .readers", "Read by Alice");

  await alice.writes("#replier", "The one behind the mill. Later it looked like this:");
  await alice.page.attach("#replier input[type=file]", file);
  for (const person of [alice, bob]) {
    const shown = await person.seesPicture("#replies", "night.png");
    assert.deepEqual(shown, { width: 480, height: 480, protocol: "blob:" }, person.name);
  }
  await alice.sees("#messages button.replies", "3 replies");
  await bob.sees("#messages button.replies", "3 replies");
  await alice.sees("#replies .readers", "Read by Bob");
  await bob.seesNo("#typing");
}

test("two people have a conversation with pictures in two browsers", async (t) => {
  const server = await startServer();
  t.after(() => server.stop());
  const address = await servePage(t);
  const people = ["Alice", "Bob"].map((name) => Person.signIn(t, server, address, name));
  const [alice, bob] = await Promise.all(people);
  const pictures = paintPictures(t);

  await meet(alice, bob);
  await sharePicture(alice, bob, pictures.evening);
  await answer(alice, bob);
  await talkInThread(alice, bob, pictures.night);
  await alice.page.screenshot("alice-3-end");
  await bob.page.screenshot("bob-3-end");

  const isExpected = (complaint) => expectedComplaints.some((known) => known.test(complaint));
  for (const { page, name } of [alice, bob]) {
    assert.deepEqual(page.complaints.filter((one) => !isExpected(one)), [], name);
  }
});
