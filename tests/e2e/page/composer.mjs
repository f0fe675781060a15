// A form in which somebody writes, attaches pictures, or corrects what was written.
import { upload } from "./pictures.mjs";

const typingMs = 8_000;

export class Composer {
  #form;
  #view;
  #editing;
  #typing = false;
  #told = Promise.resolve();

  /** `view.client` and `view.roomId` say who writes where; `threadId` in which thread. */
  constructor(form, view, threadId) {
    this.#form = form;
    this.#view = view;
    this.threadId = threadId;
    const [files] = form.querySelectorAll("input[type=file]");
    form.text.addEventListener("input", () => this.#tellTyping(form.text.value !== ""));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(form.text.value.trim());
    });
    files.addEventListener("change", async () => {
      const chosen = [...files.files];
      files.value = "";
      for (const file of chosen) await this.#put(await upload(view.client, file));
    });
  }

  /** The next text replaces this message's. */
  edit(event) {
    this.#editing = event;
    this.#form.text.value = event.getContent().body;
    this.#form.text.focus();
  }

  async #send(body) {
    if (body === "") return;
    const edited = this.#editing;
    this.#editing = undefined;
    this.#form.text.value = "";
    this.#tellTyping(false);
    const content = { msgtype: "m.text", body };
    if (!edited) return this.#put(content);
    await this.#put({
      ...content,
      body: `* ${body}`,
      "m.new_content": content,
      "m.relates_to": { rel_type: "m.replace", event_id: edited.getId() },
    });
  }

  #put(content) {
    return this.#view.client.sendMessage(this.#view.roomId, this.threadId(), content);
  }

  #tellTyping(typing) {
    if (this.#typing === typing) return;
    this.#typing = typing;
    const { client, roomId } = this.#view;
    // One after the other: the last word has to arrive last.
    this.#told = this.#told.then(() => client.sendTyping(roomId, typing, typingMs));
    if (typing) setTimeout(() => (this.#typing = false), typingMs / 2);
  }
}
