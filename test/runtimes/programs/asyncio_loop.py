"""asyncio: tasks, queues, time-outs, threads, streams over TCP and Unix sockets, signals."""
import asyncio
import os
import signal
import tempfile


async def sleepers():
    order = []

    async def one(name, span):
        await asyncio.sleep(span)
        order.append(name)

    await asyncio.gather(one("c", 0.03), one("a", 0.001), one("b", 0.015))
    print("order", order)
    try:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(10)
    except TimeoutError:
        print("timed out")
    task = asyncio.create_task(asyncio.sleep(10))
    await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        print("cancelled")


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
    writer.close()


async def over(connect, name):
    reader, writer = await connect()
    for index in range(50):
        writer.write(f"line {index}\n".encode())
    writer.write_eof()
    text = await reader.read()
    print(name, len(text), text.splitlines()[-1])
    writer.close()
    await writer.wait_closed()


async def streams():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        await asyncio.gather(*(over(lambda: asyncio.open_connection(host, port), "tcp") for _ in range(5)))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        server = await asyncio.start_unix_server(echo, path)
        async with server:
            await over(lambda: asyncio.open_unix_connection(path), "unix")


async def others():
    loop = asyncio.get_running_loop()
    print("thread", await asyncio.to_thread(sum, range(1000)))
    print("pool", sorted(await asyncio.gather(*(loop.run_in_executor(None, pow, x, 2) for x in range(10)))))
    queue, seen = asyncio.Queue(2), []

    async def consume():
        while (item := await queue.get()) is not None:
            seen.append(item)

    consumer = asyncio.create_task(consume())
    for item in [*range(20), None]:
        await queue.put(item)
    await consumer
    print("queue", sum(seen))
    received = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, received.set)
    loop.call_later(0.005, os.kill, os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(received.wait(), 10)
    print("signal")
    ends = os.pipe()
    readable = asyncio.Event()
    loop.add_reader(ends[0], readable.set)
    loop.call_soon_threadsafe(os.write, ends[1], b"x")
    await readable.wait()
    loop.remove_reader(ends[0])
    print("reader", os.read(ends[0], 9))


async def main():
    await sleepers()
    await streams()
    await others()


asyncio.run(main())
print(type(asyncio.new_event_loop()._selector).__name__)
