"""What the sender of mail cannot know of a session: that a policy was there and could not be had, or was being tested.

Takes a session of which nobody knew a policy (`no-policy-found`) and what MTA-STS says about the domain at that moment;
gives the session as it is reported. Pure.

- The policy could not be had (sts-policy-fetch-error, sts-policy-invalid, sts-webpki-invalid): mail went out without
  it (RFC 8461 §3.3), and the session is reported as one that failed by it. Once for each session, not for each fetch:
  what RFC 8460 §4.4 counts is "the number of (attempted) sessions that match the relevant result-type". If the
  session failed by itself too, both failures are told and the session is counted once (RFC 8460 §4: "overlapping
  counts").
- Mode testing: Postfix is told nothing of the policy, so it has checked no certificate against it. A session whose TLS
  failed has failed under the policy too and is reported so (RFC 8461 §5). One with TLS has proved nothing: to call it a
  success would tell the owner that enforcing is safe. It stays under `no-policy-found`.
- Everything that the sender reports under a policy is left alone, so that nothing is counted twice: with
  `policy_failure` (render) Postfix reports the failure by itself, under `sts`.

Standards: RFC 8460 §4.3, RFC 8461 §5, §6.
"""

from __future__ import annotations

from dataclasses import replace

from tlspolicyd import facts
from tlspolicyd.facts import Mode, StsFact
from tlspolicyd.tlsrpt.sessions import AppliedPolicy, Failure, PolicyType, Result, Session, clean

_RESULTS = {
    facts.Failure.FETCH: Result.STS_FETCH,
    facts.Failure.INVALID: Result.STS_INVALID,
    facts.Failure.WEBPKI: Result.STS_WEBPKI,
}


def attribute(session: Session, sts: StsFact | None) -> Session:
    """`session` with what is known of the domain's MTA-STS (None: nothing is)."""
    if sts is None or session.policy.type is not PolicyType.NONE:
        return session
    if sts.policy is None:
        if sts.failure is None:
            return session
        missing = Failure(_RESULTS[sts.failure], reason=clean(sts.reason))
        # RFC 8460 §4.5: "the policy that is declared by the receiving site, including any errors"
        policy = AppliedPolicy(PolicyType.STS, session.domain, tuple(map(clean, sts.lines)))
        return replace(session, policy=policy, failed=True, failures=(missing, *session.failures))
    if sts.policy.mode is Mode.TESTING and session.failed:
        return replace(session, policy=sts_policy(session.domain, sts))
    return session


def sts_policy(domain: str, sts: StsFact) -> AppliedPolicy:
    """The unexpired policy of a domain as reports have it."""
    assert sts.policy is not None
    return AppliedPolicy(PolicyType.STS, domain, tuple(map(clean, sts.policy.lines)), sts.policy.mx)
