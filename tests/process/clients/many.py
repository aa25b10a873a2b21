"""Asks URL, COUNT times, AT_ONCE at a time, over HTTP/2 with httpx; prints answered and failed."""

import asyncio
import sys

import httpx


async def main(url: str, count: int, at_once: int) -> None:
    left = iter(range(count))
    outcomes = {True: 0, False: 0}

    async def work(client: httpx.AsyncClient) -> None:
        for _ in left:
            try:
                response = await client.get(url)
                outcomes[response.status_code == 200] += 1
            except httpx.HTTPError:
                outcomes[False] += 1

    async with httpx.AsyncClient(http2=True, verify=False, timeout=30) as client:
        await asyncio.gather(*[work(client) for _ in range(at_once)])
    print(outcomes[True], outcomes[False])


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
