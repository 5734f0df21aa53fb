"""A session from Postfix's log, with what was known of the domain -> the session as it is reported. Pure.

Postfix's log names no policy. The one that held is what the daemon had answered, so it is worked out again from the
same facts: MTA-STS where the decision was to secure the domain, the TLSA records of the host where it was DANE, none
elsewhere. Facts may be newer than the session (the log is caught up with after a stop): a policy under which mail went
out to a host that Postfix does not call verified did not hold yet.

The log also says whether a certificate was trusted where nothing demanded it ("Untrusted" means that its chain leads
to nobody trusted), which Postfix 3.10 keeps to itself. So with mode testing more can be told than from datagrams: a
chain that is not trusted and an MX host that the policy does not name are failures (RFC 8461 §5). A trusted chain
proves no name, so that such a session stays under no-policy-found.

Standards: RFC 8460 §4.3, §4.4.
"""

from __future__ import annotations

from tlspolicyd.decide import decide
from tlspolicyd.facts import Facts, Level, Mode, SiteLevel, Tlsa
from tlspolicyd.sts.policy import match_mx
from tlspolicyd.tlsrpt.attribution import attribute, sts_policy
from tlspolicyd.tlsrpt.log_lines import LogSession
from tlspolicyd.tlsrpt.sessions import AppliedPolicy, Failure, PolicyType, Result, Session, clean


def session_of(told: LogSession, facts: Facts | None, site_level: SiteLevel = SiteLevel.DANE) -> Session:
    """What is reported of `told`; `facts` None: nothing is known of the domain."""
    failure = told.failure
    none = AppliedPolicy(PolicyType.NONE, told.domain)
    if facts is None:
        return _session(told, none, failure)
    decision = decide(facts, site_level)
    # a session that is good and not verified was before the policy was known, or had none that could be used
    held = failure is not None or told.word == "Verified"
    if held and decision.level is Level.SECURE and decision.sts is not None and decision.sts.policy is not None:
        # the policy as published, also where some of its hosts were left out of the answer
        return _session(told, sts_policy(told.domain, facts.sts), failure)
    if held and decision.level in (Level.DANE, Level.DANE_ONLY):
        return _session(told, _tlsa(told, facts) or none, failure)
    if failure is None and _tested(facts):
        failure = _under_test(told, facts)
    return attribute(_session(told, none, failure), facts.sts)


def _session(told: LogSession, policy: AppliedPolicy, failure: Failure | None) -> Session:
    return Session(told.domain, policy, failure is not None, (failure,) if failure else ())


def _tlsa(told: LogSession, facts: Facts) -> AppliedPolicy | None:
    for host in facts.dane.hosts:
        if host.name == told.mx and host.tlsa is not Tlsa.NONE:
            # RFC 8460 §4.5: presentation form, without blanks in the data
            return AppliedPolicy(PolicyType.TLSA, host.name, tuple(map(clean, host.records)))
    return None


def _tested(facts: Facts) -> bool:
    return facts.sts.policy is not None and facts.sts.policy.mode is Mode.TESTING


def _under_test(told: LogSession, facts: Facts) -> Failure | None:
    assert facts.sts.policy is not None
    if told.mx and not match_mx(facts.sts.policy.mx, told.mx):
        return Failure(Result.VALIDATION, mx=told.mx, ip=told.ip, reason="mx-mismatch")
    if told.word in ("Untrusted", "Anonymous"):
        return Failure(Result.NOT_TRUSTED, mx=told.mx, ip=told.ip, reason="certificate-not-trusted")
    return None
