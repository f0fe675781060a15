// A small Matrix client on matrix-js-sdk: rooms, messages with pictures, and threads.
import * as sdk from "matrix-js-sdk";
import { Composer } from "./composer.mjs";
import { element, show } from "./dom.mjs";
import { favourite, messagesOf } from "./messages.mjs";

const { ClientEvent, RoomEvent, RoomMemberEvent, ThreadEvent, MatrixEventEvent } = sdk;
const at = (id) => document.getElementById(id);
const [main, aside] = [document.querySelector("main"), document.querySelector("aside")];

/** Who looks at what. */
const view = { client: undefined, roomId: undefined, threadId: undefined, redraw };
const composers = {
  messages: new Composer(at("composer"), view, () => null),
  replies: new Composer(at("replier"), view, () => view.threadId),
};
const read = new Set();
let isDrawing = false;

at("login").server.value = new URLSearchParams(location.search).get("server") ?? "";
at("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { server, user, password } = Object.fromEntries(new FormData(event.target));
  const alert = event.target.querySelector("[role=alert]");
  alert.textContent = "";
  await logIn(server, user, password).catch((error) => (alert.textContent = error.message));
});

async function logIn(baseUrl, user, password) {
  const identifier = { type: "m.id.user", user };
  const login = { type: "m.login.password", identifier, password };
  const session = await sdk.createClient({ baseUrl }).loginRequest(login);
  const { user_id: userId, access_token: accessToken, device_id: deviceId } = session;
  const client = sdk.createClient({ baseUrl, userId, accessToken, deviceId });
  for (const event of [
    ...[ClientEvent.Sync, ClientEvent.Room, MatrixEventEvent.Replaced, RoomMemberEvent.Typing],
    ...[RoomEvent.Timeline, RoomEvent.LocalEchoUpdated, RoomEvent.Receipt, RoomEvent.MyMembership],
    ...[RoomEvent.UnreadNotifications, RoomMemberEvent.Membership, RoomMemberEvent.Name],
    ...[ThreadEvent.New, ThreadEvent.Update, ThreadEvent.NewReply],
  ]) {
    client.on(event, redraw);
  }
  const { displayname } = await client.getProfileInfo(userId);
  at("me").textContent = displayname ?? userId;
  view.client = client;
  // Of what is still being sent, the library would count replies twice.
  const pendingEventOrdering = sdk.PendingEventOrdering.Detached;
  await client.startClient({ initialSyncLimit: 30, threadSupport: true, pendingEventOrdering });
  at("login").hidden = true;
  at("app").hidden = false;
  redraw();
}

/** Draws soon, once for all that happens at the same time. */
function redraw() {
  if (isDrawing) return;
  isDrawing = true;
  setTimeout(() => {
    isDrawing = false;
    draw();
  });
}

function draw() {
  const { client, roomId, threadId } = view;
  show(at("rooms"), client.getRooms().map(roomEntry));
  const room = client.getRoom(roomId);
  main.hidden = !room;
  aside.hidden = !threadId;
  if (room) drawRoom(room);
  if (threadId) drawThread(room, room.getThread(threadId));
}

function roomEntry(room) {
  const isInvited = room.getMyMembership() === "invite";
  const unread = room.getUnreadNotificationCount();
  const badge = unread > 0 ? element("span", { class: "badge" }, String(unread)) : undefined;
  const join = isInvited ? element("span", { class: "join" }, "Join") : undefined;
  const isOpen = room.roomId === view.roomId ? "page" : undefined;
  const attributes = { "data-key": room.roomId, "aria-current": isOpen };
  return element("button", attributes, element("span", {}, room.name), badge, join);
}

function drawRoom(room) {
  const names = (members) => members.map((member) => member.name).sort().join(", ");
  const typing = room.getMembers().filter((m) => m.typing && m.userId !== view.client.getUserId());
  at("room").textContent = room.name;
  at("members").textContent = names(room.getJoinedMembers());
  at("typing").textContent = typing.length > 0 ? `${names(typing)} is typing…` : "";
  const events = room.getLiveTimeline().getEvents();
  drawMessages(at("messages"), room, events);
}

function drawThread(room, thread) {
  // The library would count twice what is written while it still asks how many replies there are.
  at("replier").text.disabled = !thread.initialEventsFetched;
  const replies = thread.events.filter((event) => event !== thread.rootEvent);
  drawMessages(at("replies"), room, [thread.rootEvent, ...replies], thread);
}

function drawMessages(place, room, events, thread) {
  const known = events.filter((event) => event !== undefined);
  const wanted = messagesOf(view, room, known, thread);
  const isNew = place.lastElementChild?.dataset.key !== wanted.at(-1)?.dataset.key;
  show(place, wanted);
  if (isNew) place.scrollTop = place.scrollHeight;
  const last = known.at(-1);
  // What is in sight has been read.
  const isTheirs = last && last.getSender() !== view.client.getUserId();
  if (isTheirs && !read.has(last.getId())) {
    read.add(last.getId());
    view.client.sendReadReceipt(last);
  }
}

at("rooms").addEventListener("click", async ({ target }) => {
  const roomId = target.closest("button")?.dataset.key;
  if (!roomId) return;
  const isInvited = view.client.getRoom(roomId)?.getMyMembership() === "invite";
  if (isInvited) await view.client.joinRoom(roomId);
  Object.assign(view, { roomId, threadId: undefined });
  redraw();
});

at("create").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { name, invite } = Object.fromEntries(new FormData(event.target));
  event.target.reset();
  const made = await view.client.createRoom({ name, invite: [invite], preset: "private_chat" });
  Object.assign(view, { roomId: made.room_id, threadId: undefined });
  redraw();
});

at("close").addEventListener("click", () => {
  view.threadId = undefined;
  redraw();
});

for (const place of ["messages", "replies"]) {
  at(place).addEventListener("click", ({ target }) => {
    const action = target.closest("[data-action]")?.dataset.action;
    const event = view.client
      .getRoom(view.roomId)
      .findEventById(target.closest(".message")?.dataset.key);
    if (action && event) act(action, event, composers[place]);
  });
}

function act(action, event, composer) {
  if (action === "edit") composer.edit(event);
  if (action === "thread") openThread(event);
  if (action === "react") {
    const annotation = { rel_type: "m.annotation", event_id: event.getId(), key: favourite };
    view.client.sendEvent(view.roomId, "m.reaction", { "m.relates_to": annotation });
  }
  redraw();
}

/** The library wants a thread to be there before the first reply is written. */
function openThread(root) {
  view.threadId = root.getId();
  const room = view.client.getRoom(view.roomId);
  if (!room.getThread(view.threadId)) room.createThread(view.threadId, root, [], true);
}
