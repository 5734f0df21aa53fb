"""What goes first when the memory is full, and what one entry is in every store."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.test_tlspolicyd.policy_world import START, policy
from tlspolicyd.cache.entry import LONGEST_AGE, Entry, decode, make_entry, restore
from tlspolicyd.cache.memory import PolicyMemory
from tlspolicyd.facts import Mode, Policy


def entry(mode: Mode = Mode.ENFORCE) -> Entry:
    return make_entry(policy(mode=mode), "1", START, START)


def test_enforce_goes_last_and_the_longest_unused_first() -> None:
    memory = PolicyMemory(5)
    kept = {name: entry(mode) for name, mode in (("e1", Mode.ENFORCE), ("e2", Mode.ENFORCE), ("t", Mode.TESTING))}
    kept |= {"n": entry(Mode.NONE), "old": entry()}
    for name, each in kept.items():
        assert memory.put(name, each) == []
    memory.expire("old", kept["old"], 5.0)
    memory.use("e1", kept["e1"])
    gone = [name for number in range(6) for name in memory.put(f"new{number}", entry())]
    assert gone == ["old", "n", "t", "e2", "e1", "new0"]


def test_a_flood_of_none_never_drops_an_enforce_policy() -> None:
    memory = PolicyMemory(100)
    for number in range(60):
        memory.put(f"e{number}", entry())
    for number in range(1000):
        memory.put(f"n{number}", entry(Mode.NONE))
        memory.put(f"t{number}", entry(Mode.TESTING))
    assert all(memory.get(f"e{number}") for number in range(60))
    assert len(memory) == 100


def test_a_flood_of_large_policies_never_drops_a_small_one() -> None:
    memory = PolicyMemory(100)
    for number in range(60):
        memory.put(f"e{number}", entry())
    large = make_entry(Policy(Mode.ENFORCE, ("mx.example",), 600, ("x" * 30_000,)), "1", START, START)
    for number in range(1000):
        memory.put(f"l{number}", large)
    assert all(memory.get(f"e{number}") for number in range(60))
    assert memory.get("l999") is large
    memory.expire("l999", large, 0.0)
    memory.use("l999", large)
    assert memory.get("l999") is large


def test_a_large_policy_counts_for_several() -> None:
    memory = PolicyMemory(10)
    large = make_entry(Policy(Mode.ENFORCE, ("mx.example",), 600, ("x" * 6000,)), "1", START, START)
    memory.put("a", large)
    assert memory.put("b", large) == ["a"]
    assert memory.put("a", entry()) == []
    memory.pop("b")
    memory.pop("a")
    for number in range(10):
        assert memory.put(str(number), entry()) == [], "the room was given back"


def test_the_expired_can_come_back() -> None:
    memory = PolicyMemory(10)
    one = entry()
    memory.put("a", one)
    memory.expire("a", one, 50.0)
    assert memory.get("a") is one
    assert (memory.expired_before(49.0), memory.expired_before(50.0)) == ([], ["a"])
    memory.use("a", one)
    assert memory.expired_before(100.0) == []


texts = st.text(max_size=40)


@given(
    st.sampled_from(list(Mode)),
    st.lists(texts, max_size=4),
    st.lists(texts, max_size=4),
    texts,
    st.integers(0, LONGEST_AGE),
)
def test_an_entry_comes_back_as_it_was(mode: Mode, mx: list[str], lines: list[str], name: str, age: int) -> None:
    before = Policy(mode, tuple(mx), age, tuple(lines))
    made = make_entry(before, name, START, START)
    back = restore(str(made.mode), made.body, made.fetched_at, made.max_age, made.used_at)
    assert back is not None
    assert decode(back) == (name, before)


values = st.one_of(st.none(), st.binary(max_size=30), texts, st.floats(), st.integers())


@given(values, values, values, values, values)
def test_nothing_from_a_store_raises(mode: object, body: object, fetched: object, age: object, used: object) -> None:
    made = restore(mode, body, fetched, age, used)
    if made is not None:
        decode(made)


@given(st.one_of(st.binary(max_size=60), st.sampled_from([b"[" * 100_000, b"null", b"[1,2,3]", b'["",[1],[]]'])))
def test_a_damaged_body_is_none(body: bytes) -> None:
    assert decode(Entry(Mode.ENFORCE, body, START, 1, START)) is None
