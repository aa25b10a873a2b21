"""The clock and the draws of this machine."""

import asyncio
import re
import time

import pytest

from gateway.telemetry.system import HexDraws, SystemClock, pause, turns_of_the_loop

DRAWN = 56
"""What one request takes."""


def test_clock_tells_the_systems_time() -> None:
    before = time.time(), time.monotonic()  # noqa: TID251 - what the clock is compared with
    clock = SystemClock()
    told = clock.now(), clock.monotonic()
    after = time.time(), time.monotonic()  # noqa: TID251

    assert before[0] <= told[0] <= after[0]
    assert before[1] <= told[1] <= after[1]


@pytest.mark.parametrize("count", [1, 3, DRAWN, 1000])
def test_draws_have_the_length_asked_for_over_the_ends_of_blocks(count: int) -> None:
    draw = HexDraws()
    blocks = 3 * 2 * HexDraws.BLOCK_BYTES

    drawn = [draw(count) for _ in range(blocks // count)]

    assert all(re.fullmatch(f"[0-9a-f]{{{count}}}", digits) for digits in drawn)


def test_no_digits_are_given_twice() -> None:
    draw = HexDraws()

    drawn = [draw(DRAWN) for _ in range(1000)]

    assert len(set(drawn)) == 1000
    assert len({digits[:16] for digits in drawn}) == 1000


def test_whole_block_can_be_drawn() -> None:
    draw = HexDraws()
    whole = 2 * HexDraws.BLOCK_BYTES

    first, second = draw(whole), draw(whole)

    assert (len(first), len(second)) == (whole, whole)
    assert first != second


def test_two_sources_draw_differently() -> None:
    assert HexDraws()(32) != HexDraws()(32)


async def test_pause_ends_when_it_is_cancelled() -> None:
    await pause(0.0)
    before = asyncio.all_tasks()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.0):
            await pause(3600.0)

    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_turns_of_the_loop_are_counted(count: int) -> None:
    loop = asyncio.get_running_loop()
    came: list[int] = []

    def turn(number: int) -> None:
        came.append(number)
        if number < 5:
            loop.call_soon(turn, number + 1)

    loop.call_soon(turn, 1)
    await turns_of_the_loop(count)

    assert came == list(range(1, count + 1))
