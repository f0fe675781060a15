// Rooms in which much happens at once: many speak, edit, react and redact, change the state, come
// and go, are thrown out and invited back. What happens is the same in each run, its order is not.
import assert from "node:assert/strict";

const client = "/_matrix/client/v3";
let lastTransaction = 0;

export class BusyRoom {
  #server;
  #founder;
  #guests;

  constructor(server, roomId, founder, guests) {
    this.#server = server;
    this.id = roomId;
    this.#founder = founder;
    this.#guests = guests;
  }

  /** A public room of `founder`, in which everyone may change the state. */
  static async found(server, name, founder, guests) {
    const { room_id } = await server.api(founder.access_token, "POST", `${client}/createRoom`, {
      name,
      preset: "public_chat",
      power_level_content_override: { state_default: 0, events: { "m.room.name": 0 } },
    });
    return new BusyRoom(server, room_id, founder, guests);
  }

  async #api(person, method, path, body) {
    const target = `${client}/rooms/${encodeURIComponent(this.id)}/${path}`;
    const token = person.access_token;
    // A connection that was kept may end, with its server, just when it is used again.
    const headers = { connection: "close" };
    const answer = await this.#server.request(method, target, { token, body, headers });
    assert.equal(answer.status, 200, `${method} ${target} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  async send(person, type, content) {
    const path = `send/${type}/t${(lastTransaction += 1)}`;
    return (await this.#api(person, "PUT", path, content)).event_id;
  }

  say(person, body, more = {}) {
    return this.send(person, "m.room.message", { msgtype: "m.text", body, ...more });
  }

  edit(person, eventId, body) {
    return this.say(person, `* ${body}`, {
      "m.new_content": { msgtype: "m.text", body },
      "m.relates_to": { rel_type: "m.replace", event_id: eventId },
    });
  }

  redact(person, eventId) {
    const path = `redact/${encodeURIComponent(eventId)}/t${(lastTransaction += 1)}`;
    return this.#api(person, "PUT", path, { reason: "a slip" });
  }

  setState(person, type, key, content) {
    return this.#api(person, "PUT", `state/${type}/${encodeURIComponent(key)}`, content);
  }

  enter(person) {
    return this.#api(person, "POST", "join", {});
  }

  /** One guest's stay: all of it in this order, beside all the others' stays. */
  async #stay(guest, number, round) {
    await this.enter(guest);
    const first = await this.say(guest, `${round}: here is ${number}`);
    const slip = await this.say(guest, `${round}: a slip of ${number}`);
    await this.setState(guest, "org.example.seat", `seat ${number}`, { round, taken: true });
    await this.edit(guest, first, `${round}: here is guest ${number}`);
    const reaction = { rel_type: "m.annotation", event_id: first, key: "👋" };
    await this.send(guest, "m.reaction", { "m.relates_to": reaction });
    await this.redact(guest, slip);
    await this.setState(guest, "m.room.topic", "", { topic: `${round}: what ${number} says` });
    await this.edit(guest, first, `${round}: here is, again, ${number}`);
    if (number % 3 === 0) await this.#api(guest, "POST", "leave", {});
    if (number % 3 === 1) {
      const out = round === "one" ? "kick" : "ban";
      await this.#api(this.#founder, "POST", out, { user_id: guest.user_id, reason: "noise" });
    }
  }

  /** Everything that happens between two looks of the clients that follow. */
  async live(round) {
    const stays = this.#guests.map((guest, number) => this.#stay(guest, number, round));
    const founded = async () => {
      await this.setState(this.#founder, "m.room.name", "", { name: `The room, ${round}` });
      const topic = await this.setState(this.#founder, "m.room.topic", "", { topic: "a slip" });
      await this.redact(this.#founder, topic.event_id);
      for (let i = 1; i <= 12; i += 1) await this.say(this.#founder, `${round}: alone ${i}`);
    };
    await Promise.all([...stays, founded()]);
  }

  /** Everything as the server tells it to `person`: events, oldest first, and the state. */
  async truth(person) {
    const events = [];
    let from = "";
    do {
      const page = await this.#api(person, "GET", `messages?dir=b&limit=50${from}`);
      events.unshift(...page.chunk.reverse());
      from = page.end && `&from=${encodeURIComponent(page.end)}`;
    } while (from);
    assert.equal(events[0].type, "m.room.create");
    return { events, state: await this.#api(person, "GET", "state") };
  }
}
