// The fixed scenario: what a client does most, one request after the other.
import { Samples } from "./report.mjs";
import { timelineOf } from "./client.mjs";
import { Complaint } from "../run.mjs";

const sizes = {
  full: { accounts: 5, members: 30, sends: 100, reads: 20, rooms: 50, syncs: 5, wakes: 25,
    keys: 15 },
  quick: { accounts: 2, members: 4, sends: 10, reads: 4, rooms: 5, syncs: 2, wakes: 5, keys: 2 },
};
const messagesPerPage = 100;
const keyUsersMax = 20;
const oneTimeKeys = 50;
// Long enough for the other request to wait already when the message is sent.
const untilWaitingMs = 100;
const longPollMs = 30_000;

/** Resolves with the rows of the table. */
export async function runScenario(client, size) {
  const steps = new Scenario(client, sizes[size]);
  await steps.accounts();
  await steps.rooms();
  await steps.messages();
  await steps.reading();
  await steps.syncing();
  await steps.waking();
  await steps.keys();
  return steps.samples.rows();
}

class Scenario {
  samples = new Samples();

  constructor(client, size) {
    this.client = client;
    this.size = size;
  }

  async accounts() {
    const { client, samples, size } = this;
    for (let i = 0; i < size.reads; i += 1) await samples.time("versions", client.versions());
    this.users = [];
    for (let i = 0; i < Math.max(size.accounts, size.members); i += 1) {
      const registering = client.register(`user${i}`);
      const isTimed = i < size.accounts;
      const { user } = await (isTimed ? samples.time("register", registering) : registering);
      this.users.push(user);
    }
    for (let i = 0; i < size.accounts; i += 1) {
      await samples.time("login", client.login(this.users[i]));
    }
    [this.alice, this.bob] = this.users;
    for (let i = 0; i < size.reads; i += 1) {
      await samples.time("whoami", client.whoami(this.alice));
    }
  }

  async rooms() {
    const { client, samples, size } = this;
    for (let i = 0; i < size.rooms; i += 1) {
      const { room } = await samples.time("createRoom", client.createRoom(this.alice));
      this.room ??= room;
    }
    for (const user of this.users.slice(1, size.members)) {
      await samples.time("join", client.join(user, this.room));
    }
    for (let i = 0; i < size.reads; i += 1) {
      const topic = { topic: `Topic ${i}` };
      const sending = client.sendState(this.alice, this.room, "m.room.topic", topic);
      await samples.time("send state", sending);
    }
  }

  async messages() {
    const { client, samples, size } = this;
    await client.send(this.alice, this.room);
    for (let i = 0; i < size.sends; i += 1) {
      await samples.time("send message", client.send(this.alice, this.room));
    }
  }

  async reading() {
    const { client, samples, size } = this;
    const paths = { messages: { dir: "b", limit: messagesPerPage }, state: {}, members: {},
      joined_members: {} };
    for (const [path, query] of Object.entries(paths)) {
      for (let i = 0; i < size.reads; i += 1) {
        await samples.time(path, client.read(this.alice, this.room, `/${path}`, query));
      }
    }
    for (let i = 0; i < size.reads; i += 1) {
      await samples.time("joined_rooms", client.joinedRooms(this.alice));
    }
  }

  async syncing() {
    const { client, samples, size } = this;
    const initial = `sync, initial, ${size.rooms} rooms`;
    let since;
    for (let i = 0; i < size.syncs; i += 1) {
      ({ since } = await samples.time(initial, client.sync(this.alice)));
    }
    for (let i = 0; i < size.reads; i += 1) {
      ({ since } = await samples.time("sync, nothing new", client.sync(this.alice, since)));
    }
    for (let i = 0; i < size.reads; i += 1) {
      const { eventId } = await client.send(this.bob, this.room);
      const answer = await samples.time("sync, one event", client.sync(this.alice, since));
      this.#mustHave(answer, eventId);
      since = answer.since;
    }
  }

  /** From the start of the sending to the end of the other's sync that shows the message. */
  async waking() {
    const { client, samples, size } = this;
    let { since } = await client.sync(this.bob);
    for (let i = 0; i < size.wakes; i += 1) {
      // What else is new, as who is online, has been seen before.
      ({ since } = await client.sync(this.bob, since));
      const waiting = client.sync(this.bob, since, longPollMs);
      await new Promise((resolve) => setTimeout(resolve, untilWaitingMs));
      const started = performance.now();
      const { eventId } = await client.send(this.alice, this.room);
      const answer = await waiting;
      answer.ms = performance.now() - started;
      await samples.time("wake", answer);
      this.#mustHave(answer, eventId);
      since = answer.since;
    }
  }

  /** Of up to twenty users: each publishes keys, one asks for all and takes one of each. */
  async keys() {
    const { client, samples, size } = this;
    const users = this.users.slice(0, keyUsersMax);
    for (const user of users) {
      await samples.time(`keys/upload, ${oneTimeKeys} keys`, client.uploadKeys(user, oneTimeKeys));
    }
    for (let i = 0; i < size.keys; i += 1) {
      const name = (what) => `${what}, ${users.length} users`;
      await samples.time(name("keys/query"), client.queryKeys(this.alice, users));
      await samples.time(name("keys/claim"), client.claimKeys(this.alice, users));
      const content = { ciphertext: "x" };
      await samples.time(name("sendToDevice"), client.sendToDevices(this.alice, users, content));
    }
  }

  #mustHave(answer, eventId) {
    if (timelineOf(answer, this.room).includes(eventId)) return;
    throw new Complaint(`A sync does not show ${eventId}.`);
  }
}

