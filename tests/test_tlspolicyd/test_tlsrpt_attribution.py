"""What the daemon adds to a session that Postfix knew no policy for."""

from __future__ import annotations

import pytest

from tlspolicyd import facts
from tlspolicyd.facts import Mode, Policy, StsFact
from tlspolicyd.tlsrpt.attribution import attribute
from tlspolicyd.tlsrpt.sessions import AppliedPolicy, Failure, PolicyType, Result, Session

NONE = AppliedPolicy(PolicyType.NONE, "a.example")
GOOD = Session("a.example", NONE, False)
BROKEN = Session("a.example", NONE, True, (Failure(Result.VALIDATION, reason="tls-handshake-failure"),))


def held(mode: Mode) -> StsFact:
    return StsFact("a.example", Policy(mode, ("mx.a.example",), 86400, ("version: STSv1", f"mode: {mode}")))


@pytest.mark.parametrize(
    ("failure", "result"),
    [
        (facts.Failure.FETCH, "sts-policy-fetch-error"),
        (facts.Failure.INVALID, "sts-policy-invalid"),
        (facts.Failure.WEBPKI, "sts-webpki-invalid"),
    ],
)
def test_a_policy_that_could_not_be_had(failure: facts.Failure, result: str) -> None:
    sts = StsFact("a.example", signalled=True, failure=failure, reason="why\x1b[31m")
    told = attribute(GOOD, sts)
    assert (told.policy, told.failed) == (AppliedPolicy(PolicyType.STS, "a.example"), True)
    assert told.failures == (Failure(Result(result), reason="why?[31m"),)


def test_tlsrpt_19_an_invalid_policy_is_told_with_its_errors() -> None:
    lines = ("version: STSv1", "mode: enforced", "mx: mx.a.example")
    sts = StsFact("a.example", signalled=True, failure=facts.Failure.INVALID, lines=lines)
    assert attribute(GOOD, sts).policy == AppliedPolicy(PolicyType.STS, "a.example", lines)


def test_two_failures_of_one_session() -> None:
    told = attribute(BROKEN, StsFact("a.example", signalled=True, failure=facts.Failure.FETCH))
    assert [failure.result for failure in told.failures] == [Result.STS_FETCH, Result.VALIDATION]


def test_tlsrpt_25_mode_testing() -> None:
    assert attribute(GOOD, held(Mode.TESTING)) == GOOD
    told = attribute(BROKEN, held(Mode.TESTING))
    assert told.policy == AppliedPolicy(
        PolicyType.STS, "a.example", ("version: STSv1", "mode: testing"), ("mx.a.example",)
    )
    assert (told.failed, told.failures) == (True, BROKEN.failures)


@pytest.mark.parametrize("session", [GOOD, BROKEN])
@pytest.mark.parametrize("sts", [None, StsFact("a.example"), held(Mode.NONE), held(Mode.ENFORCE)])
def test_what_is_not_known_better_is_left_alone(session: Session, sts: StsFact | None) -> None:
    assert attribute(session, sts) == session


@pytest.mark.parametrize("kind", [PolicyType.STS, PolicyType.TLSA])
def test_nothing_is_added_to_what_postfix_reports_under_a_policy(kind: PolicyType) -> None:
    session = Session("a.example", AppliedPolicy(kind, "a.example"), True, (Failure(Result.STS_INVALID),))
    for sts in (held(Mode.TESTING), StsFact("a.example", signalled=True, failure=facts.Failure.INVALID)):
        assert attribute(session, sts) == session
