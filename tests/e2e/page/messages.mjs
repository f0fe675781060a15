// Messages as elements: what was said, what came of it, and what can be done with it.
import { element } from "./dom.mjs";
import { thumbnail } from "./pictures.mjs";

export const favourite = "❤";

function isMessage(event) {
  return event.getType() === "m.room.message" && !event.isRelation("m.replace");
}

/** The messages among the events of a room, or of one of its threads. */
export function messagesOf(view, room, events, thread) {
  const readers = readersOf(thread ?? room, events);
  return events
    .filter(isMessage)
    .map((event) => message(view, room, event, thread, readers.get(event) ?? []));
}

/** Who has read up to which message: what follows one and is not shown counts as that one. */
function readersOf(timeline, events) {
  const readers = new Map();
  let last;
  for (const event of events) {
    if (isMessage(event)) last = event;
    const users = timeline.getReceiptsForEvent(event).map(({ userId }) => userId);
    readers.set(last, [...(readers.get(last) ?? []), ...users]);
  }
  return readers;
}

function message(view, room, event, thread, users) {
  const sender = room.getMember(event.getSender());
  const name = sender?.name ?? event.getSender();
  const mine = event.getSender() === view.client.getUserId();
  const isPicture = event.getContent().msgtype === "m.image";
  const attributes = {
    class: mine ? "message mine" : "message",
    "data-key": event.getId(),
  };
  const parts = [
    element("span", { class: "avatar", style: `--hue: ${hue(name)}` }, name[0].toUpperCase()),
    element("p", { class: "head" }, element("b", {}, name), " ", time(event)),
    isPicture ? picture(view, event) : text(event),
    reactions(view, room, event),
    thread ? undefined : threadOf(room, event),
    actions(mine && !isPicture, thread !== undefined),
    readersLine(view, room, event, users),
  ];
  return element("article", attributes, ...parts);
}

function hue(name) {
  return [...name].reduce((sum, letter) => (sum * 67 + letter.codePointAt(0)) % 360, 0);
}

function time(event) {
  const shown = event.getDate().toLocaleTimeString("en-GB", { timeStyle: "short" });
  return element("time", {}, shown);
}

function text(event) {
  const edited = event.replacingEvent() ? element("small", {}, " (edited)") : undefined;
  return element("p", { class: "text" }, event.getContent().body ?? "", edited);
}

function picture(view, event) {
  const { url, body, info } = event.getContent();
  const src = thumbnail(view.client, url, view.redraw);
  const shape = `aspect-ratio: ${info?.w ?? 4} / ${info?.h ?? 3}`;
  const image = src
    ? element("img", { src, alt: body, style: shape })
    : element("div", { class: "loading", style: shape });
  return element("figure", {}, image, element("figcaption", {}, body));
}

function reactions(view, room, event) {
  const found = room.relations.getChildEventsForEvent(event.getId(), "m.annotation", "m.reaction");
  const byKey = (found?.getSortedAnnotationsByKey() ?? []).filter(([, events]) => events.size > 0);
  if (byKey.length === 0) return undefined;
  const shown = byKey.map(([key, events]) => {
    const who = [...events].map((one) => room.getMember(one.getSender())?.name).sort().join(", ");
    return element("li", { title: who }, `${key} ${events.size}`);
  });
  return element("ul", { class: "reactions" }, ...shown);
}

function threadOf(room, event) {
  const length = room.getThread(event.getId())?.length ?? 0;
  if (length === 0) return undefined;
  const unread = room.getThreadUnreadNotificationCount(event.getId());
  const badge = unread > 0 ? element("span", { class: "badge" }, String(unread)) : undefined;
  const replies = length === 1 ? "1 reply" : `${length} replies`;
  return element("button", { class: "replies", "data-action": "thread" }, replies, badge);
}

function actions(canEdit, inThread) {
  const action = (name, label) => element("button", { "data-action": name }, label);
  return element(
    "div",
    { class: "actions" },
    action("react", favourite),
    inThread ? undefined : action("thread", "Reply in thread"),
    canEdit ? action("edit", "Edit") : undefined,
  );
}

function readersLine(view, room, event, users) {
  const own = [event.getSender(), view.client.getUserId()];
  const others = users.filter((user) => !own.includes(user));
  if (others.length === 0) return undefined;
  const names = [...new Set(others)].map((user) => room.getMember(user)?.name ?? user);
  return element("p", { class: "readers" }, `Read by ${names.sort().join(", ")}`);
}
