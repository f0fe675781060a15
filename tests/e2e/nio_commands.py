"""What a device on matrix-nio does in rooms that are not encrypted. The fields of the commands are
named as in the specification."""

import pathlib

import nio

PAGE_ROOMS = 4
PAGE_EVENTS = 20


def good(response):
    assert not isinstance(response, nio.ErrorResponse), response
    return response


async def send(client, room, type, content):
    return {"event_id": good(await client.room_send(room, type, content)).event_id}


async def send_image(client, room, file, mimetype, size):
    path = pathlib.Path(file)
    with path.open("rb") as picture:
        bytes_count = path.stat().st_size
        options = {"content_type": mimetype, "filename": path.name, "filesize": bytes_count}
        uploaded, _ = await client.upload(picture, **options)
    info = {"mimetype": mimetype, "size": bytes_count, "w": size["width"], "h": size["height"]}
    url = good(uploaded).content_uri
    content = {"msgtype": "m.image", "body": path.name, "url": url, "info": info}
    return await send(client, room, "m.room.message", content)


async def save_thumbnail(client, url, size, file):
    server, media = url.removeprefix("mxc://").split("/")
    got = good(await client.thumbnail(server, media, size["width"], size["height"]))
    pathlib.Path(file).write_bytes(got.body)
    return {}


def relation(event):
    return event.source["content"].get("m.relates_to", {})


def shown(event, events):
    """A message with what the server has put together about it, and the reactions to it."""
    relations = event.source.get("unsigned", {}).get("m.relations", {})
    edit = relations.get("m.replace")
    content = edit["content"]["m.new_content"] if edit else event.source["content"]
    reactions = {}
    for other in events:
        if isinstance(other, nio.ReactionEvent) and other.reacts_to == event.event_id:
            reactions.setdefault(other.key, []).append(other.sender)
    related = relation(event)
    return {
        "event_id": event.event_id,
        "sender": event.sender,
        "msgtype": content["msgtype"],
        "body": content["body"],
        "edited": edit is not None,
        "reactions": reactions,
        "thread": related.get("event_id") if related.get("rel_type") == "m.thread" else None,
        "replies": relations.get("m.thread", {}).get("count", 0),
    }


async def messages(client, room):
    events, start = [], client.next_batch
    while start:
        page = good(await client.room_messages(room, start, limit=PAGE_EVENTS))
        events.extend(page.chunk)
        start = page.end
    texts = [event for event in reversed(events) if isinstance(event, nio.RoomMessage)]
    first = [event for event in texts if relation(event).get("rel_type") != "m.replace"]
    return [shown(event, events) for event in first]


async def threads(client, room):
    roots = [root async for root in client.room_get_threads(room, limit=1)]
    about = [root.source["unsigned"]["m.relations"]["m.thread"] for root in roots]
    return [
        {"root": root.event_id, "latest": of["latest_event"]["event_id"], "replies": of["count"]}
        for root, of in zip(roots, about)
    ]


async def unread(client, room):
    room = client.rooms[room]
    return {"notifications": room.unread_notifications, "highlights": room.unread_highlights}


async def read(client, room, event, thread):
    good(await client.update_receipt_marker(room, event, thread_id=thread))
    return {}


async def space_rooms(client, space):
    rooms, start = [], None
    while True:
        page = good(await client.space_get_hierarchy(space, start, limit=PAGE_ROOMS))
        rooms.extend(room for room in page.rooms if room["room_id"] != space)
        start = page.next_batch
        if not start:
            break
    return [
        {"room_id": room["room_id"], "name": room["name"], "joined": room["num_joined_members"]}
        for room in rooms
    ]


COMMANDS = {
    command.__name__: command
    for command in (
        send,
        send_image,
        save_thumbnail,
        messages,
        threads,
        unread,
        read,
        space_rooms,
    )
}
