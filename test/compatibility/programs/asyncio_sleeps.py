import asyncio

async def worker(name, delay):
    await asyncio.sleep(delay)
    return name

async def work():
    return await asyncio.gather(worker("slow", 0.03), worker("fast", 0.01))

print(asyncio.run(work()))
