"""Ready replies are bounded and go when they should."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tlspolicyd.ready import LONGEST, ReadyReplies

COUNT = [0]


def test_bounds() -> None:
    ready = ReadyReplies(3, lambda: 10.0)
    for number in range(5):
        ready.put(b"%d" % number, f"d{number}", b"reply", 3600.0, COUNT)
    assert list(ready.entries) == [b"2", b"3", b"4"]  # the oldest went
    assert ready.entries[b"4"][0] == 10.0 + LONGEST
    ready.put(b"x" * 601, "x", b"reply", 60.0, COUNT)
    ready.put(b"y", "y", b"r" * 8193, 60.0, COUNT)
    ready.put(b"z", "z", b"reply", 0.0, COUNT)
    assert list(ready.entries) == [b"2", b"3", b"4"]


def test_what_cannot_be_kept_takes_its_former_reply_away() -> None:
    ready = ReadyReplies(3, lambda: 10.0)
    ready.put(b"a", "a", b"old", 60.0, COUNT)
    ready.put(b"a", "a", b"new", 0.0, COUNT)
    assert ready.entries == {}


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 9), st.integers(0, 3)),
            st.tuples(st.just("forget"), st.just(0), st.integers(0, 3)),
            st.tuples(st.just("clear"), st.just(0), st.just(0)),
        ),
        max_size=40,
    )
)
def test_the_books_agree(steps: list[tuple[str, int, int]]) -> None:
    ready = ReadyReplies(5, lambda: 0.0)
    for what, request, domain in steps:
        if what == "put":
            ready.put(b"%d" % request, f"d{domain}", b"d%d" % domain, 60.0, COUNT)
        elif what == "forget":
            ready.forget(f"d{domain}")
            assert all(reply != b"d%d" % domain for _, reply, _ in ready.entries.values())
        else:
            ready.clear()
        assert len(ready.entries) <= 5
    for domain in range(4):
        ready.forget(f"d{domain}")
    assert ready.entries == {}
