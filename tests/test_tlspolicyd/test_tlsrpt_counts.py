"""Counting: nothing is lost or counted twice, and nothing grows without bound."""

from __future__ import annotations

import datetime
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlspolicyd.tlsrpt import counts
from tlspolicyd.tlsrpt.counts import Count, Counts, Row, day_of, fold, merge
from tlspolicyd.tlsrpt.sessions import AppliedPolicy, Failure, PolicyType, Result, Session

DAY = datetime.date(2026, 11, 27)
NEXT = datetime.date(2026, 11, 28)


def policy(name: str = "a.example") -> AppliedPolicy:
    return AppliedPolicy(PolicyType.STS, name)


def good(domain: str = "a.example", record: str = "") -> Session:
    return Session(domain, policy(domain), False, (), record)


def bad(*failures: Failure, domain: str = "a.example") -> Session:
    return Session(domain, policy(domain), True, failures or (Failure(Result.EXPIRED),))


def test_tlsrpt_14_a_utc_day() -> None:
    midnight = datetime.datetime(2028, 2, 29, tzinfo=datetime.UTC).timestamp()
    assert day_of(midnight - 0.001) == datetime.date(2028, 2, 28)
    assert day_of(midnight) == datetime.date(2028, 2, 29)
    assert day_of(midnight + 86_399.9) == datetime.date(2028, 2, 29)
    assert day_of(midnight + 86_400) == datetime.date(2028, 3, 1)


def test_tlsrpt_20_successes_and_failures() -> None:
    kept = Counts()
    for session in (good(), good(), bad(), bad(Failure(Result.EXPIRED), Failure(Result.STS_FETCH))):
        kept.add(session, DAY)
    (row,) = kept.take()
    assert (row.day, row.domain, row.policy) == (DAY, "a.example", policy())
    assert (row.count.successes, row.count.failures) == (2, 2)
    assert row.count.details == {Failure(Result.EXPIRED): 2, Failure(Result.STS_FETCH): 1}
    assert kept.take() == []


def test_days_and_domains_are_apart() -> None:
    kept = Counts()
    kept.add(good(), DAY)
    kept.add(good(), NEXT)
    kept.add(good("b.example"), NEXT)
    assert [(row.day, row.domain) for row in kept.take()] == [
        (DAY, "a.example"),
        (NEXT, "a.example"),
        (NEXT, "b.example"),
    ]


def test_the_newest_record_counts() -> None:
    kept = Counts()
    kept.add(good(record="old"), DAY)
    kept.add(good(record="new"), DAY)
    kept.add(good(), DAY)
    assert [row.record for row in kept.take()] == ["new"]


def test_failures_in_detail_are_bounded_and_all_are_counted() -> None:
    kept = Counts()
    for number in range(3000):
        number %= 1000
        kept.add(bad(Failure(Result.EXPIRED, ip=f"192.0.2.{number}", mx=f"mx{number % 150}.a.example")), DAY)
    (row,) = kept.take()
    assert row.count.failures == sum(row.count.details.values()) == 3000
    assert len(row.count.details) == counts.MOST_FAILURES + 1
    assert row.count.details[Failure(Result.EXPIRED)] > 0


def test_failures_stay_told_apart_after_they_were_written() -> None:
    kept = Counts()
    for _ in range(2):
        for number in range(counts.MOST_DETAILED + 50):
            kept.add(bad(Failure(Result.EXPIRED, ip=f"192.0.2.{number}", mx="mx.a.example")), DAY)
        (row,) = kept.take()
        assert len(row.count.details) == counts.MOST_DETAILED + 1
        assert row.count.details[Failure(Result.EXPIRED, mx="mx.a.example")] == 50


def test_a_session_with_two_failures_that_look_alike_without_detail_is_counted_once() -> None:
    kept = Counts()
    for number in range(counts.MOST_FAILURES + 10):
        kept.add(bad(Failure(Result.EXPIRED, mx=f"m{number}.example")), DAY)
    kept.take()
    kept.add(bad(Failure(Result.EXPIRED, mx="x.example"), Failure(Result.EXPIRED, mx="y.example")), DAY)
    (row,) = kept.take()
    assert row.count.details == {Failure(Result.EXPIRED): 1}


def test_policies_and_domains_are_bounded_and_the_rest_is_counted_as_dropped() -> None:
    kept = Counts(domains=5)
    for number in range(8):
        kept.add(good(f"d{number}.example"), DAY)
    assert kept.dropped == 3
    for number in range(counts.MOST_POLICIES + 7):
        kept.add(Session("d0.example", policy(f"p{number}.example"), False), DAY)
    assert kept.dropped == 3 + 8  # one policy of the domain was there
    assert sum(row.count.successes for row in kept.take()) == 5 + counts.MOST_POLICIES - 1


def test_a_new_day_makes_room() -> None:
    kept = Counts(domains=2)
    for name in ("a.example", "b.example"):
        kept.add(good(name), DAY)
    kept.add(good("c.example"), NEXT)
    assert kept.dropped == 1
    kept.take()
    kept.add(good("c.example"), NEXT)
    kept.take()
    kept.add(good("d.example"), NEXT)
    assert kept.dropped == 1


def test_fold_keeps_the_most_frequent() -> None:
    details = {Failure(Result.EXPIRED, mx=f"m{number}.example"): number + 1 for number in range(10)}
    folded = fold(details, 3)
    assert list(folded.items())[:3] == [(Failure(Result.EXPIRED, mx=f"m{n}.example"), n + 1) for n in (9, 8, 7)]
    assert folded[Failure(Result.EXPIRED)] == sum(range(1, 8))


def test_merge() -> None:
    rows = [Row(DAY, "a.example", policy(), Count(1, 2, {Failure(Result.EXPIRED): 2})) for _ in range(3)]
    (row,) = merge(rows)
    assert (row.count.successes, row.count.failures) == (3, 6)
    assert rows[0].count.failures == 2


sessions = st.builds(
    lambda domain, result, number: (
        good(domain) if result is None else bad(Failure(result, mx=f"m{number}.example"), domain=domain)
    ),
    st.sampled_from(["a.example", "b.example"]),
    st.none() | st.sampled_from(Result),
    st.integers(0, 400),
)


@given(st.lists(st.tuples(sessions, st.sampled_from([DAY, NEXT]), st.booleans())))
def test_totals_in_are_totals_out(told: list[tuple[Session, datetime.date, bool]]) -> None:
    kept = Counts()
    written: list[Row] = []
    expected: Counter[tuple[datetime.date, str, bool]] = Counter()
    for session, day, taken in told:
        kept.add(session, day)
        expected[day, session.domain, session.failed] += 1
        if taken:
            written += kept.take()
    written += kept.take()
    assert kept.dropped == 0
    found: Counter[tuple[datetime.date, str, bool]] = Counter()
    for row in merge(written):
        found[row.day, row.domain, False] += row.count.successes
        found[row.day, row.domain, True] += row.count.failures
        assert sum(row.count.details.values()) == row.count.failures
    assert +found == +expected


@pytest.mark.parametrize("number", [1, 200])
def test_memory_of_a_domain_without_news_is_small(number: int) -> None:
    kept = Counts()
    for each in range(number):
        kept.add(good(f"d{each}.example"), DAY)
    assert len(kept) == number
    kept.take()
    assert len(kept) == 0
