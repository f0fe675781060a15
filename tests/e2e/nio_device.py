"""One device on matrix-nio, driven by the test that started it.

Each line of standard input is a command in JSON, `{"id": 1, "command": "say", ...}`; each is
answered by a line on standard output, `{"id": 1, "result": ...}` or `{"id": 1, "error": "..."}`,
when it is done. Lines with `log` are what the library complains of.
"""

import asyncio
import json
import logging
import sys

import aiohttp
import nio

from nio_commands import COMMANDS, good

WAIT_S = 35


def report(**line):
    print(json.dumps(line), flush=True)


class Complaints(logging.Handler):
    def emit(self, record):
        log = {"level": record.levelname, "target": record.name, "text": record.getMessage()}
        report(log=log)


class Client(nio.AsyncClient):
    """A client that keeps the texts that it could read, and wakes whoever waits at each sync."""

    def __init__(self, url, user, folder):
        super().__init__(url, user, store_path=folder)
        self.changed = asyncio.Condition()
        self.texts = {}
        self.add_event_callback(self._keep, nio.RoomMessageText)
        self.add_response_callback(self._tell, nio.SyncResponse)

    async def _keep(self, room, event):
        self.texts[room.room_id, event.body] = event.decrypted

    async def _tell(self, _):
        async with self.changed:
            self.changed.notify_all()

    async def wait(self, what, look):
        async def loop():
            async with self.changed:
                await self.changed.wait_for(look)

        try:
            await asyncio.wait_for(loop(), WAIT_S)
        except asyncio.TimeoutError as error:
            raise AssertionError(f"{self.user_id} never saw {what}") from error

    def has_joined(self, room, user):
        return room in self.rooms and user in self.rooms[room].users


async def log_in(url, user, password, folder):
    client = Client(url, user, folder)
    session = good(await client.login(password))
    good(await client.sync(timeout=0, full_state=True))
    good(await client.keys_upload())
    return client, {"user_id": session.user_id, "device_id": session.device_id}


async def follow(client):
    """Syncs for ever; a server that is away is asked again."""
    while True:
        try:
            await client.sync_forever(timeout=10_000)
        except (aiohttp.ClientError, asyncio.TimeoutError):
            await asyncio.sleep(0.1)


async def run(client, command, room, text=None, user=None):
    if command == "join":
        good(await client.join(room))
    elif command == "wait_member":
        await client.wait(f"{user} in {room}", lambda: client.has_joined(room, user))
    elif command == "say":
        assert client.rooms[room].encrypted, room
        content = {"msgtype": "m.text", "body": text}
        kind, trusting = "m.room.message", {"ignore_unverified_devices": True}
        return {"event_id": good(await client.room_send(room, kind, content, **trusting)).event_id}
    elif command == "wait_text":
        await client.wait(text, lambda: (room, text) in client.texts)
        assert client.texts[room, text], f"{text} was not encrypted"
    else:
        raise AssertionError(command)
    return {}


async def answer(session, id, command, **fields):
    try:
        if command in COMMANDS:
            result = await COMMANDS[command](session["client"], **fields)
        elif command == "login":
            session["client"], result = await log_in(**fields)
            session["following"] = asyncio.create_task(follow(session["client"]))
        else:
            result = await run(session["client"], command, **fields)
        report(id=id, result=result)
    except Exception as error:
        report(id=id, error=repr(error))


async def main():
    logging.getLogger("nio").addHandler(Complaints(level=logging.WARNING))
    session, tasks = {}, set()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = asyncio.create_task(answer(session, **json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    session["following"].cancel()
    await session["client"].close()


asyncio.run(main())
