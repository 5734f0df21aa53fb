"""How long answers are kept, how many, and what a resolver does with them; the clock is the test's."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailcommon.dns.answer import Answer, Status
from mailcommon.dns.cache import AnswerCache, key_of
from mailcommon.dns.resolver import DnsResolver
from mailcommon.dns.settings import DnsSettings
from tests.support.dns_server import FakeDns


class Clock:
    """Stands still until `now` is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


KEY = key_of("TXT", "a.example")


@pytest.mark.parametrize(
    ("later", "left"),
    [(0.0, 300), (0.4, 299), (1.0, 299), (299.0, 1), (299.5, 0), (300.0, None), (1e9, None)],
)
def test_the_ttl_is_what_remains(later: float, left: int | None) -> None:
    clock = Clock()
    cache = AnswerCache(10, clock)
    cache.put(KEY, Answer(Status.OK, (b"x",), 300, True, "", True))
    clock.now += later
    assert cache.get(KEY) == (None if left is None else Answer(Status.OK, (b"x",), left, True, "", True))


@settings(deadline=None)
@given(st.integers(1, 90000), st.lists(st.floats(0, 5000), max_size=10))
def test_the_ttl_never_grows_and_ends_in_time(ttl: int, steps: list[float]) -> None:
    clock = Clock()
    cache = AnswerCache(10, clock)
    cache.put(KEY, Answer(Status.OK, (b"x",), ttl))
    for step in steps:
        clock.now += step
        answer = cache.get(KEY)
        passed = clock.now - 1000.0
        if passed >= ttl:
            assert answer is None
        else:
            assert answer is not None
            assert ttl - passed - 1 <= answer.ttl <= ttl - passed


def test_ttl_zero_is_not_kept() -> None:
    cache = AnswerCache(10, Clock())
    cache.put(KEY, Answer(Status.OK, (b"x",), 0))
    assert cache.get(KEY) is None
    assert len(cache) == 0


def test_the_longest_unused_goes_first() -> None:
    cache = AnswerCache(3, Clock())
    for name in ("a", "b", "c"):
        cache.put(key_of("TXT", name), Answer(Status.OK, (b"x",), 300))
    assert cache.get(key_of("TXT", "a")) is not None
    cache.put(key_of("TXT", "d"), Answer(Status.OK, (b"x",), 300))
    kept = [name for name in ("a", "b", "c", "d") if cache.get(key_of("TXT", name)) is not None]
    assert kept == ["a", "c", "d"]


def test_large_answers_count_for_their_size() -> None:
    cache = AnswerCache(100, Clock())
    for number in range(100):
        cache.put(key_of("TXT", f"{number}.example"), Answer(Status.OK, (b"x" * 10_000,), 300))
    assert 1 <= len(cache) <= 10


@pytest.mark.parametrize("size", [70_000, 1_000_000])
def test_giant_answers_are_not_kept(size: int) -> None:
    cache = AnswerCache(1000, Clock())
    cache.put(KEY, Answer(Status.OK, (b"x" * size,), 300))
    assert len(cache) == 0


@pytest.mark.parametrize("entries", [0, 1])
def test_small_caches(entries: int) -> None:
    cache = AnswerCache(entries, Clock())
    cache.put(KEY, Answer(Status.OK, (b"x",), 300))
    cache.put(KEY, Answer(Status.OK, (b"y" * 5000,), 300))  # counts as five
    assert len(cache) == entries


def test_case_and_one_dot_do_not_count() -> None:
    assert key_of("A", "A.Example.") == key_of("A", "a.example") == ("A", "a.example")
    assert key_of("A", "a.example..") != key_of("A", "a.example")


ZONE = """
a.example. 300 IN TXT "yes"
zero.example. 0 IN TXT "yes"
www.example. 20 IN CNAME a.example.
;FAULT broken.example. * servfail
;FAULT silent.example. * timeout
"""


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a.example", 300),
        ("www.example", 20),  # the alias's
        ("none.example", 60),  # SOA
        ("zero.example", 0),
        ("broken.example", 5),
        ("silent.example", 5),
    ],
)
def test_the_server_is_asked_again_when_the_ttl_is_over(name: str, kept: int) -> None:
    clock = Clock()
    with FakeDns(ZONE, negative_ttl=60) as dns:
        resolver = DnsResolver(DnsSettings((dns.address,), timeout=0.05), clock=clock)
        first = resolver.txt(name)
        asked = dns.count()
        if kept:
            clock.now += kept - 0.5
            again = resolver.txt(name.upper())
            assert (again.status, again.records, again.ttl) == (first.status, first.records, 0)
            assert dns.count() == asked
        clock.now += 0.5
        resolver.txt(name)
        assert dns.count() == 2 * asked


def test_a_cache_outlives_its_resolver() -> None:
    with FakeDns(ZONE) as dns:
        settings = DnsSettings((dns.address,))
        first = DnsResolver(settings)
        first.txt("a.example")
        assert DnsResolver(settings, first.cache).txt("a.example").records == (b"yes",)
        assert dns.count() == 1
