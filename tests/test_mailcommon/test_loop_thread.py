"""The event loop in a thread: work from other threads, and its end."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import CancelledError

import pytest

from mailcommon.loop_thread import LoopThread


async def add(one: int, other: int) -> int:
    await asyncio.sleep(0)
    return one + other


async def fail() -> int:
    raise ValueError("no")


def test_work_from_many_threads() -> None:
    loop = LoopThread("test")
    found: list[int] = []
    threads = [threading.Thread(target=lambda n=n: found.append(loop.submit(add(n, 1)).result(10))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 21))
    with pytest.raises(ValueError, match="no"):
        loop.submit(fail()).result(10)
    loop.close()


def test_no_thread_before_the_first_work() -> None:
    before = set(threading.enumerate())
    loop = LoopThread("test")
    assert set(threading.enumerate()) <= before
    assert loop.submit(add(1, 1)).result(10) == 2
    assert [thread.name for thread in set(threading.enumerate()) - before] == ["test"]
    loop.close()


def test_the_end_gives_up_what_is_under_way_and_then_cleans_up() -> None:
    ended = threading.Event()

    async def at_end() -> None:
        ended.set()

    loop = LoopThread("test", at_end)
    hanging = loop.submit(asyncio.sleep(1_000))
    loop.close()
    loop.close()
    with pytest.raises(CancelledError):
        hanging.result(10)
    assert ended.wait(10)
    late = loop.submit(add(1, 1))
    assert late.cancelled()


def test_one_that_was_made_before_a_fork_works_after_it() -> None:
    loop = LoopThread("test")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, b"%d" % loop.submit(add(20, 22)).result(10))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert os.read(reading, 10) == b"42"
    os.close(reading)
    os.close(writing)
