// What people on different libraries do in threads, and what is unread in each of them.
import assert from "node:assert/strict";
import { until } from "./js_client.mjs";
import { everyone } from "./people.mjs";

const inThread = (root) => ({ "m.relates_to": { rel_type: "m.thread", event_id: root } });
const none = { notifications: 0, highlights: 0 };
const unread = (notifications, highlights = 0) => ({ notifications, highlights });

/** Two threads, each unread by itself until somebody reads it; resolves with their roots. */
export async function talkInThreads(people, room) {
  const [alice, bob, dave] = people;
  const roots = [await bob.say(room, "Where do we meet?"), await bob.say(room, "And when?")];
  const [where, when] = roots;
  await everyone(people, (one) => one.sees(room, when, { body: "And when?" }));
  await everyone(people, (one) => one.read(room, when));
  await everyone(people, (one) => one.counts(room, none));

  const mentions = { "m.mentions": { user_ids: [alice.userId] } };
  const first = await dave.say(room, "At the mill", inThread(where));
  await everyone(people, (one) => one.sees(room, where, { replies: 1 }));
  const second = await dave.say(room, "Alice knows it", { ...inThread(where), ...mentions });
  const third = await bob.say(room, "At nine", inThread(when));
  await everyone(people, async (one) => {
    await one.sees(room, where, { replies: 2 });
    await one.sees(room, when, { replies: 1 });
    await one.sees(room, second, { sender: dave.userId, thread: where });
  });
  await alice.counts(room, { ...none, threads: { [where]: unread(2, 1), [when]: unread(1) } });
  await bob.counts(room, unread(2));
  await dave.counts(room, unread(1));

  await alice.read(room, first);
  await alice.counts(room, { ...none, threads: { [where]: unread(1, 1), [when]: unread(1) } });
  const aside = await dave.say(room, "I bring my dog");
  await alice.counts(room, {
    ...unread(1),
    threads: { [where]: unread(1, 1), [when]: unread(1) },
  });
  await bob.counts(room, unread(3));
  await alice.read(room, second);
  await alice.counts(room, { ...unread(1), threads: { [where]: none, [when]: unread(1) } });
  await alice.read(room, third);
  await alice.read(room, aside);
  await alice.counts(room, { ...none, threads: { [where]: none, [when]: none } });
  await bob.read(room, second, where);
  await bob.counts(room, unread(1));
  await bob.read(room, aside);
  await bob.counts(room, none);
  await dave.read(room, third, when);
  await dave.counts(room, none);
  return roots;
}

/** The thread with the newest reply comes first. */
export async function listThreads(people, room, [where, when]) {
  const [, , dave] = people;
  const latest = await dave.say(room, "By the big wheel", inThread(where));
  await everyone(people, (one) => one.sees(room, where, { replies: 3 }));
  for (const person of people) {
    const threads = await person.threads(room);
    assert.deepEqual(threads.map(({ root }) => root), [where, when], person.name);
    assert.deepEqual(threads.map(({ replies }) => replies), [3, 1], person.name);
    assert.equal(threads[0].latest, latest, person.name);
  }
}

/** Whoever follows a thread does so on another device, too, without having asked the server. */
export async function followThread(person, newDevice, room, [where, when], witness) {
  const follows = async (event) =>
    (await newDevice.client.call("follows_thread", { room, event })).follows;
  await person.client.call("follow_thread", { room, event: where });
  await until("the thread followed on the new device", () => follows(where));
  assert.equal(await follows(when), false);
  const asked = witness.answers.filter(
    ({ method, path }) => method === "GET" && path.includes("/subscription"),
  );
  assert.deepEqual(asked, []);
}
