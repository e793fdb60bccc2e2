#!/usr/bin/env python3
"""delay-proxy.py LISTEN-PORT SERVER-PORT MILLISECONDS: a line that is long but wide, for kernels without netem.

Relays TCP connections on loopback; every byte arrives so many milliseconds after it was sent, in each direction, and opening a connection
takes a round trip. The rate is not limited but by this program itself.
"""
import asyncio
import sys

BUFFER = 1 << 18
IN_FLIGHT = 64  # pieces on their way in one direction of one connection


async def read(reader, line, delay):
    loop = asyncio.get_running_loop()
    while True:
        data = await reader.read(BUFFER)
        await line.put((loop.time() + delay, data))
        if not data:
            return


async def write(writer, line):
    loop = asyncio.get_running_loop()
    while True:
        due, data = await line.get()
        wait = due - loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        if not data:
            writer.close()
            return
        writer.write(data)
        await writer.drain()


async def relay(reader, writer, server, delay):
    await asyncio.sleep(2 * delay)
    try:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", server)
    except OSError:
        writer.close()
        return
    there, back = asyncio.Queue(IN_FLIGHT), asyncio.Queue(IN_FLIGHT)
    tasks = [asyncio.ensure_future(t) for t in
             (read(reader, there, delay), write(far_writer, there), read(far_reader, back, delay), write(writer, back))]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in tasks:
        task.cancel()
        if task.done() and not task.cancelled():
            task.exception()
    for w in (writer, far_writer):
        w.close()


async def main():
    listen, server, delay = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000
    s = await asyncio.start_server(lambda r, w: relay(r, w, server, delay), "127.0.0.1", listen, limit=1 << 20)
    async with s:
        await s.serve_forever()


asyncio.run(main())
