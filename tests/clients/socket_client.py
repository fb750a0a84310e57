"""One client of python-socketio. `sockets.mjs` describes what it reads and writes, beside numbers: the first line is its options."""

import asyncio
import base64
import json
import sys

import socketio

LONGEST_LINE = 16 * 1024 * 1024
# Seconds; the library's own single one is too short for a busy machine.
PATIENCE = 15


def tell(**what):
    print(json.dumps(what), flush=True)


def attachment(value):
    return base64.b64decode(value["$bytes"]) if "$bytes" in value else value


class Client(socketio.AsyncClient):
    """Tells of upgrades, for which the library has no event: whenever `connect` returns, they are done."""

    async def connect(self, url, transports, **options):
        await super().connect(url, transports=transports, wait_timeout=PATIENCE, **options)
        if self.transport() != transports[0]:
            tell(type="upgrade", transport=self.transport())


async def main():
    lines = asyncio.StreamReader(limit=LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    options = json.loads(await lines.readline())
    client = Client(reconnection_delay=0.1, reconnection_delay_max=0.5)

    client.on("connect", lambda: tell(type="connect", id=client.get_sid(), transport=client.transport()))
    client.on("connect_error", lambda message=None: tell(type="connect_error", message=message))
    client.on("disconnect", lambda reason: tell(type="disconnect", reason=reason))
    client.on("*", lambda event, *args: tell(type="event", event=event, args=args))

    await client.connect(
        options["url"],
        transports=options.get("transports", ["polling", "websocket"]),
        headers=options.get("extraHeaders", {}),
        auth=options.get("auth"),
        retry=True,
    )
    async for line in lines:
        command = json.loads(line, object_hook=attachment)
        ack = command["ack"]
        await client.emit(
            command["event"],
            tuple(command["args"]),
            callback=None if ack is None else lambda *answer, ack=ack: tell(type="ack", ack=ack, answer=answer),
        )
    await client.disconnect()


asyncio.run(main())
