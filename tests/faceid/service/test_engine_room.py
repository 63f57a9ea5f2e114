"""The engine room: a bounded queue, work that is too late is not begun, and items of several callers together."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from faceid.inference.onnx_session import in_parts
from faceid.service.engine_room import EngineRoom
from faceid.service.problems import Problem


def double(items: list[int]) -> list[list[int]]:
    return [[2 * item] for item in items]


def test_past_the_bound_the_next_is_refused_at_once() -> None:
    room = EngineRoom(workers=1, queue=2)
    go = threading.Event()

    async def story() -> None:
        waiting = [asyncio.create_task(room.run(go.wait, 10)) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert room.waiting == 2
        with pytest.raises(Problem) as refused:
            await room.run(go.wait, 10)
        assert (refused.value.code, refused.value.status) == ("busy", 503)
        go.set()
        assert await asyncio.gather(*waiting) == [True] * 3
        assert room.waiting == 0
        assert await room.run(lambda: 7, 10) == 7

    asyncio.run(story())
    room.close()


def test_a_worker_shares_its_work_with_no_further_threads() -> None:
    room = EngineRoom(workers=2, queue=2)
    seen = asyncio.run(room.run(lambda: in_parts(lambda _: threading.get_ident(), range(8)), 10))
    room.close()
    assert len(set(seen)) == 1


def test_what_was_not_begun_in_time_is_never_done() -> None:
    room = EngineRoom(workers=1, queue=8)
    go, done = threading.Event(), []

    async def story() -> None:
        first = asyncio.create_task(room.run(go.wait, 10))
        await asyncio.sleep(0.02)
        with pytest.raises(Problem) as late:
            await room.run(lambda: done.append(1), 0.05)
        assert late.value.code == "too_slow"
        go.set()
        await first

    asyncio.run(story())
    room.close()
    assert done == []


@pytest.mark.parametrize("batch", [1, 4])
def test_those_who_ask_alike_are_worked_on_together_and_each_gets_its_own(batch: int) -> None:
    room = EngineRoom(workers=1, queue=64, batch=batch)
    go = threading.Event()

    async def story() -> list[tuple[list[list[int]], int]]:
        first = asyncio.create_task(room.run(go.wait, 10))
        await asyncio.sleep(0.02)
        asked = [asyncio.create_task(room.run_together("a", [n, n + 10], double, 10)) for n in range(5)]
        other = asyncio.create_task(room.run_together("b", [7], double, 10))
        await asyncio.sleep(0.02)
        go.set()
        await first
        return [*await asyncio.gather(*asked), await other]

    answers = asyncio.run(story())
    room.close()
    assert [found for found, _ in answers] == [*([[2 * n], [2 * n + 20]] for n in range(5)), [[14]]]
    assert [together for _, together in answers] == ([2] * 5 + [1] if batch == 1 else [4, 4, 4, 4, 2, 1])


def test_who_was_answered_together_with_others_leaves_room_for_the_next() -> None:
    room = EngineRoom(workers=1, queue=8, batch=8)
    go = threading.Event()

    async def story() -> None:
        busy = asyncio.create_task(room.run(go.wait, 10))
        await asyncio.sleep(0.02)
        first = [asyncio.create_task(room.run_together("a", [n], double, 10)) for n in range(8)]
        await asyncio.sleep(0.02)
        go.set()
        await asyncio.gather(busy, *first)
        held = threading.Event()  # the thread is held again before it has looked for the seven others of the eight
        other = asyncio.create_task(room.run(held.wait, 10))
        second = [asyncio.create_task(room.run_together("a", [n], double, 10)) for n in range(8)]
        await asyncio.sleep(0.02)
        held.set()
        assert await other
        assert [found for found, _ in await asyncio.gather(*second)] == [[[2 * n]] for n in range(8)]

    asyncio.run(story())
    room.close()


@pytest.mark.parametrize(
    ("work", "error"), [(lambda items: 1 / 0, ZeroDivisionError), (lambda items: [[1]], RuntimeError)]
)
def test_a_failure_reaches_everybody_who_was_worked_on_together(
    work: Callable[[list[int]], list[list[int]]], error: type[Exception]
) -> None:
    room = EngineRoom(workers=1, queue=8, batch=8)
    go = threading.Event()

    async def story() -> list[object]:
        first = asyncio.create_task(room.run(go.wait, 10))
        await asyncio.sleep(0.02)
        asked = [asyncio.create_task(room.run_together("a", [1, 2], work, 10)) for _ in range(2)]
        await asyncio.sleep(0.02)
        go.set()
        await first
        return await asyncio.gather(*asked, return_exceptions=True)

    assert [type(answer) for answer in asyncio.run(story())] == [error, error]
    room.close()
