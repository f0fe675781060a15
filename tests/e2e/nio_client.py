"""Two people talk with matrix-nio; the test that started this restarts the server when asked to.

Lines on standard output are JSON: {"request": {...}} for each answer, {"restart": true} when the
server has to be restarted (a line on standard input says that it was).
"""

import asyncio
import json
import sys
from urllib.parse import urlsplit

import aiohttp
import nio

SERVER_URL, PASSWORD, WAIT_S = sys.argv[1], "a long passphrase", 30


def report(**line):
    print(json.dumps(line), flush=True)


class Client(nio.AsyncClient):
    """A client that reports every answer, and fails on what the library takes for an error."""

    async def send(self, method, path, *args, **kwargs):
        answer = await super().send(method, path, *args, **kwargs)
        body = "" if answer.status < 400 else await answer.text()
        where = urlsplit(path).path
        report(request={"method": method, "path": where, "status": answer.status, "body": body})
        return answer


def good(response):
    assert not isinstance(response, nio.ErrorResponse), response
    return response


async def sync_until(client, what, look):
    """Syncs until `look` sees something; every sync goes on from the one before."""

    async def loop():
        while True:
            response = good(await client.sync(timeout=10_000))
            if found := look(response):
                return found

    try:
        return await asyncio.wait_for(loop(), WAIT_S)
    except asyncio.TimeoutError as error:
        raise AssertionError(f"{client.user_id} never saw {what}") from error


def events_of(response, room_id):
    for rooms in (response.rooms.join, response.rooms.leave):
        if room_id in rooms:
            return rooms[room_id].timeline.events
    return []


async def sees_text(client, room_id, text):
    def look(response):
        texts = [e for e in events_of(response, room_id) if isinstance(e, nio.RoomMessageText)]
        return next((event for event in texts if event.body == text), None)

    return await sync_until(client, text, look)


async def say(client, room_id, text):
    content = {"msgtype": "m.text", "body": text}
    return good(await client.room_send(room_id, "m.room.message", content)).event_id


async def log_in(name):
    client = Client(SERVER_URL, name, config=nio.AsyncClientConfig(encryption_enabled=False))
    good(await client.register(name, PASSWORD))
    good(await client.logout())
    good(await client.login(PASSWORD))
    good(await client.sync(timeout=0, full_state=True))
    return client


async def meet(alice, bob):
    created = await alice.room_create(name="The wild wood", invite=[bob.user_id])
    room_id = good(created).room_id
    for number in range(1, 13):
        await say(alice, room_id, f"alone {number}")
    await sync_until(bob, "the invitation", lambda response: room_id in response.rooms.invite)
    assert bob.invited_rooms[room_id].name == "The wild wood"
    assert bob.invited_rooms[room_id].inviter == alice.user_id
    good(await bob.join(room_id))
    await sync_until(bob, "the room", lambda response: room_id in response.rooms.join)
    assert bob.rooms[room_id].display_name == "The wild wood"
    await say(alice, room_id, "Good evening")
    await sees_text(bob, room_id, "Good evening")
    await say(bob, room_id, "And to you")
    await sees_text(alice, room_id, "And to you")
    assert set(alice.rooms[room_id].users) == {alice.user_id, bob.user_id}
    return room_id


async def page_back(client, room_id):
    """All texts of the room, oldest first, and the kinds of events seen on the way."""
    events, start = [], client.next_batch
    while True:
        page = good(await client.room_messages(room_id, start, limit=7))
        events.extend(page.chunk)
        if not page.end:
            break
        start = page.end
        assert len(events) < 200, "the creation of the room is never reached"
    ids = [event.event_id for event in events]
    assert len(set(ids)) == len(ids), "an event came twice"
    assert isinstance(events[-1], nio.RoomCreateEvent), events[-1]
    return [e.body for e in reversed(events) if isinstance(e, nio.RoomMessageText)]


async def restart(clients):
    tokens = [client.next_batch for client in clients]
    report(restart=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    assert tokens == [client.next_batch for client in clients]


async def part(alice, bob, room_id, event_id):
    good(await alice.room_redact(room_id, event_id, reason="a slip"))

    def redacted(response):
        return any(isinstance(e, nio.RedactionEvent) for e in events_of(response, room_id))

    await sync_until(bob, "the redaction", redacted)
    event = good(await bob.room_get_event(room_id, event_id)).event
    assert isinstance(event, nio.RedactedEvent), event
    good(await bob.room_leave(room_id))
    gone = lambda response: room_id in response.rooms.leave
    await sync_until(bob, "its own leave", gone)
    absent = lambda _: bob.user_id not in alice.rooms[room_id].users
    await sync_until(alice, "the leave", absent)
    good(await bob.room_forget(room_id))


async def ask_around(client, room_id):
    """What programs built on the library ask for besides."""
    good(await client.get_profile())
    good(await client.set_displayname("Alice of the wood"))
    assert good(await client.get_displayname()).displayname == "Alice of the wood"
    good(await client.joined_rooms())
    good(await client.joined_members(room_id))
    good(await client.room_get_state(room_id))
    good(await client.room_typing(room_id, True))
    good(await client.devices())
    good(await client.whoami())
    good(await client.get_presence(client.user_id))
    good(await client.upload_filter(room={"timeline": {"limit": 5}}))


async def main():
    alice, bob = await log_in("alice"), await log_in("bob")
    try:
        room_id = await meet(alice, bob)
        await ask_around(alice, room_id)
        await restart([alice, bob])
        last = await say(bob, room_id, "Still here")
        await sees_text(alice, room_id, "Still here")
        good(await alice.room_read_markers(room_id, last, last))
        await say(alice, room_id, "So am I")
        await sees_text(bob, room_id, "So am I")
        texts = await page_back(bob, room_id)
        alone = [f"alone {number}" for number in range(1, 13)]
        expected = [*alone, "Good evening", "And to you", "Still here", "So am I"]
        assert texts == expected, texts
        await part(alice, bob, room_id, last)
        good(await alice.logout(all_devices=True))
    finally:
        await alice.close()
        await bob.close()


try:
    asyncio.run(main())
except aiohttp.ClientError as error:
    sys.exit(f"the connection was lost: {error!r}")
