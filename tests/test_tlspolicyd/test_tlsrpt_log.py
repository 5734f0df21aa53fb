"""Postfix's log: what its lines say of sessions, and what nobody can make them say. Real lines of 3.7 and 3.10."""

from __future__ import annotations

import datetime
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlspolicyd.facts import DaneFact, Facts, Mode, MxHost, Policy, StsFact, Tlsa
from tlspolicyd.facts import Failure as StsFailure
from tlspolicyd.tlsrpt.log_lines import LogReader, LogSession
from tlspolicyd.tlsrpt.log_policy import session_of
from tlspolicyd.tlsrpt.log_stamp import split
from tlspolicyd.tlsrpt.sessions import Failure, PolicyType, Result

MX = "mx.a.example"
HOST = f"{MX}[192.0.2.1]"
ESTABLISHED = f"Verified TLS connection established to {HOST}:25: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256)"
REST = "delay=0.1, delays=0.01/0.02/0.07/0"


def sent(to: str = "u@a.example", relay: str = f"{HOST}:25") -> str:
    return f"E2CBD20CF2F: to=<{to}>, relay={relay}, {REST}, dsn=2.0.0, status=sent (250 2.0.0 taken)"


def deferred(why: str, to: str = "u@a.example", queue_id: str = "14AD520CF2F", relay: str = f"{HOST}:25") -> str:
    return f"{queue_id}: to=<{to}>, relay={relay}, {REST}, dsn=4.7.4, status=deferred ({why})"


def read(*lines: str, program: str = "postfix/smtp[123]") -> list[LogSession]:
    reader = LogReader()
    return [session for line in lines for session in reader.feed(f"{program}: {line}")]


def failure(*lines: str) -> Failure | None:
    (session,) = read(*lines)
    return session.failure


def test_good_session() -> None:
    assert read(ESTABLISHED, sent()) == [LogSession("a.example", MX, "192.0.2.1", "Verified")]


@pytest.mark.parametrize("word", ["Verified", "Trusted", "Untrusted", "Anonymous"])
def test_words(word: str) -> None:
    (session,) = read(ESTABLISHED.replace("Verified", word), sent())
    assert (session.word, session.failure) == (word, None)


NOT_VERIFIED = "Server certificate not verified"
CERTIFICATES = [
    (f"server certificate verification failed for {HOST}:25: num=62:hostname mismatch", Result.HOST_MISMATCH, ""),
    (f"server certificate verification failed for {HOST}:25: certificate has expired", Result.EXPIRED, ""),
    (
        f"certificate verification failed for {HOST}:25: self-signed certificate",
        Result.NOT_TRUSTED,
        "self-signed_certificate",
    ),
    (
        f"certificate verification failed for {HOST}:25: untrusted issuer /CN=Somebody Else Root",
        Result.NOT_TRUSTED,
        "untrusted_issuer",
    ),
    (
        f"server certificate verification failed for {HOST}:25: num=65:no matching DANE TLSA records",
        Result.NOT_TRUSTED,
        "no_matching_DANE_TLSA_records",
    ),
    (f"certificate verification failed for {HOST}:25: num=99:something", Result.VALIDATION, "something"),
]


@pytest.mark.parametrize(("line", "result", "reason"), CERTIFICATES)
def test_certificates_that_are_not_accepted(line: str, result: Result, reason: str) -> None:
    untrusted = ESTABLISHED.replace("Verified", "Untrusted")
    expected = Failure(result, mx=MX, ip="192.0.2.1", reason=reason)
    assert failure(line, untrusted, deferred(NOT_VERIFIED)) == expected
    # and where another host takes the mail
    other = ESTABLISHED.replace("mx.a", "mx2.a")
    first, second = read(line, untrusted, f"14AD520CF2F: {NOT_VERIFIED}", other, sent(relay="mx2.a.example[x]:25"))
    assert (first.failure, second.failure) == (expected, None)


def test_a_certificate_that_nobody_demands_is_no_failure() -> None:
    line, *_ = CERTIFICATES[2]
    (session,) = read(line, ESTABLISHED.replace("Verified", "Untrusted"), sent())
    assert (session.word, session.failure) == ("Untrusted", None)


@pytest.mark.parametrize(
    "why",
    [
        f"TLS is required, but was not offered by host {HOST}",
        f"TLS is required, but host {HOST} refused to start TLS: 454 4.7.0 TLS is not available now",
    ],
)
def test_no_starttls(why: str) -> None:
    expected = Failure(Result.NO_STARTTLS, mx=MX, ip="192.0.2.1")
    assert failure(deferred(why)) == expected
    (first, _) = read(f"14AD520CF2F: {why}", ESTABLISHED, sent())
    assert first.failure == expected


def test_no_handshake() -> None:
    expected = Failure(Result.VALIDATION, mx=MX, ip="192.0.2.1", reason="tls-handshake-failure")
    broken = f"SSL_connect error to {HOST}:25: lost connection"
    assert failure(broken, deferred("Cannot start TLS: handshake failure")) == expected


def test_tlsa_records() -> None:
    unusable = f"warning: {HOST}:25: all TLSA records unusable, fallback to unauthenticated TLS"
    found = failure(unusable, ESTABLISHED.replace("Verified", "Trusted"), sent())
    assert found == Failure(Result.TLSA_INVALID, mx=MX, ip="192.0.2.1", reason="all-TLSA-records-unusable")
    failed = f"warning: TLS policy lookup for a.example/{MX}: TLSA lookup error for {MX}:25"
    assert failure(failed, deferred(f"TLSA lookup error for {MX}:25", relay="none")) == Failure(
        Result.DNSSEC_INVALID, mx=MX
    )


def test_mx_name_that_the_policy_does_not_have() -> None:
    line = f"warning: MX name '{MX}' does not match STS MX pattern for 'a.example'"
    assert failure(line, deferred("server unavailable or unable to receive mail", relay="none")) == Failure(
        Result.VALIDATION, mx=MX, reason="mx-mismatch"
    )


def test_several_recipients_of_one_message_are_one_session() -> None:
    why = f"TLS is required, but was not offered by host {HOST}"
    assert len(read(*(deferred(why, f"u{number}@a.example") for number in range(3)))) == 1
    assert len(read(deferred(why), deferred(why, queue_id="24AD520CF2F"))) == 2
    assert len(read(ESTABLISHED, sent("a@a.example"), sent("b@a.example"))) == 1


def test_a_connection_that_is_used_again_is_no_session() -> None:
    again = sent().replace(", delay=", ", conn_use=2, delay=")
    assert len(read(ESTABLISHED, sent(), again)) == 1


def test_connection_errors_are_no_sessions() -> None:
    assert read(f"connect to {HOST}:25: Connection refused", deferred("Connection refused", relay="none")) == []
    assert read(sent()) == []


def test_mail_in_clear() -> None:
    """Known once the log has shown a line about TLS; never where another process may speak TLS, or none is wanted."""
    other = sent("u@b.example").replace("E2CBD20CF2F", "F2CBD20CF2F")
    told = Failure(Result.NO_STARTTLS, mx=MX, ip="192.0.2.1")
    clear = LogSession("b.example", MX, "192.0.2.1", "", told)
    assert read(ESTABLISHED, sent(), other, other)[1:] == [clear]
    assert read(sent(), other) == []
    # another recipient of the same message, after one that cannot be read
    assert read(ESTABLISHED, sent(), other.replace("u@b", '">"@b'), other)[1:] == []
    assert read(ESTABLISHED, sent(), other.replace(":25,", ":10024,"))[1:] == []
    assert read(ESTABLISHED, sent(), other.replace(", delay=", ", conn_use=2, delay="))[1:] == []
    assert read(ESTABLISHED, sent(), other.replace("status=sent", "status=bounced"))[1:] == []
    for reader in (LogReader(tls_wanted=False), LogReader()):
        for line in (f"smtp[1]: {ESTABLISHED}", f"smtp[1]: {sent()}", f"tlsproxy[2]: {ESTABLISHED}"):
            reader.feed(f"postfix/{line}")
        assert reader.feed(f"postfix/smtp[1]: {other}") == []


def test_processes_are_apart() -> None:
    reader = LogReader(tls_wanted=False)
    assert reader.feed(f"postfix/smtp[1]: {ESTABLISHED}") == []
    assert reader.feed(f"postfix/smtp[2]: {sent()}") == []
    assert len(reader.feed(f"postfix/smtp[1]: {sent()}")) == 1


def test_processes_and_hosts_are_bounded() -> None:
    reader = LogReader(tls_wanted=False)
    for number in range(5000):
        reader.feed(f"postfix/smtp[{number}]: {ESTABLISHED}")
    assert reader.feed(f"postfix/smtp[0]: {sent()}") == []
    assert len(reader.feed(f"postfix/smtp[4999]: {sent()}")) == 1
    for number in range(5000):
        reader.feed(f"postfix/smtp[7]: {ESTABLISHED.replace('192.0.2.1', f'192.0.2.{number % 250}')}")
    assert len(reader.feed(f"postfix/smtp[7]: {sent()}")) == 50


@pytest.mark.parametrize(
    "program", ["postfix/smtpd[1]", "postfix/tlsrpt/smtp[1]", "sshd[1]", "smtp[1]", "postfix/lmtp[1]"]
)
def test_tlsrpt_5_other_programs_and_the_one_that_sends_reports(program: str) -> None:
    assert read(ESTABLISHED, sent(), program=program) == []


def test_another_instance_and_another_name_of_smtp() -> None:
    for program in ("postfix-out/smtp[1]", "postfix/relay/smtp[1]"):
        assert len(read(ESTABLISHED, sent(), program=program)) == 1


HOSTILE = [
    # the local part of an address is a stranger's
    f'14AD520CF2F: to=<"x>, relay={HOST}:25, {REST}, dsn=4.7.4, status=deferred (TLS is required, but was not offered '
    f'by host mx.victim.example[192.0.2.9])"@a.example>, relay={HOST}:25, {REST}, dsn=2.0.0, status=sent (ok)',
    f'14AD520CF2F: to=<"@victim.example>, relay={HOST}:25"@a.example>, relay={HOST}:25, {REST}, dsn=2, status=sent ()',
    # so is a reply
    deferred(f"host {HOST} said: 450 TLS is required, but was not offered by host mx.victim.example[192.0.2.9]"),
    deferred("host said: 450 postfix/smtp[1]: " + sent("u@victim.example")),
    f"14AD520CF2F: host {HOST} said: 450 Server certificate not verified",
    f"warning: host {HOST} replied with 'SSL_connect error to mx.victim.example[192.0.2.9]:25: x'",
    sent("u@"),
    sent("u"),
    sent("u@localhost"),
    sent("u@[192.0.2.1]"),
]


@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_text_of_strangers_is_no_line_of_ours(line: str) -> None:
    for session in read(ESTABLISHED, line, ESTABLISHED, sent("u@b.example")):
        assert (session.domain, session.mx, session.failure) in [("a.example", MX, None), ("b.example", MX, None)]


@given(st.text(max_size=200) | st.sampled_from(HOSTILE), st.text(max_size=30))
def test_whatever_the_log_has(line: str, program: str) -> None:
    for session in read(line, sent(), program="postfix/smtp[1]") + read(line, program=program):
        assert session.word or session.failure


# The time in front


def at(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def test_rfc_3339_time() -> None:
    line = "2026-11-28T03:10:54.123456+01:00 mx postfix/smtp[1]: text"
    assert split(line, 0.0) == (at("2026-11-28T03:10:54.123456+01:00"), "postfix/smtp[1]: text")
    assert split("2026-11-28T03:10:54Z mx postfix/smtp[1]: text", 0.0) == (
        at("2026-11-28T03:10:54+00:00"),
        "postfix/smtp[1]: text",
    )


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Pacific/Kiritimati", "America/St_Johns"])
@pytest.mark.parametrize(
    ("stamp", "now", "then"),
    [
        ("Nov 28 03:10:54", "2026-11-28T03:10:55", "2026-11-28T03:10:54"),
        ("Nov  8 03:10:54", "2026-11-28T03:10:55", "2026-11-08T03:10:54"),
        ("Dec 31 23:59:59", "2027-01-01T00:00:01", "2026-12-31T23:59:59"),
        ("Jan  1 00:00:01", "2026-12-31T23:59:59", "2027-01-01T00:00:01"),
        ("Feb 29 12:00:00", "2028-03-01T12:00:00", "2028-02-29T12:00:00"),
    ],
)
def test_time_without_a_year(monkeypatch: pytest.MonkeyPatch, zone: str, stamp: str, now: str, then: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert split(f"{stamp} mx postfix/smtp[1]: text", at(now)) == (at(then), "postfix/smtp[1]: text")
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "line",
    ["", "text", "Foo 28 03:10:54 mx x", "Nov 31 03:10:54 mx x", "Nov 28 99:10:54 mx x", "2026-99-28T03:10:54Z mx x"],
)
def test_lines_without_a_time(line: str) -> None:
    assert split(line, 1e9) is None


# The policy that held


def facts(sts: StsFact | None = None, *hosts: MxHost) -> Facts:
    return Facts("a.example", sts or StsFact("a.example"), DaneFact(hosts=hosts, mx_secure=True))


def sts(mode: Mode, *mx: str) -> StsFact:
    lines = ("version: STSv1", f"mode: {mode}")
    return StsFact("a.example", Policy(mode, mx or (MX,), 86400, lines), "1", expires_at=2e9, signalled=True)


GOOD = LogSession("a.example", MX, "192.0.2.1", "Trusted")
VERIFIED = LogSession("a.example", MX, "192.0.2.1", "Verified")
UNTRUSTED = LogSession("a.example", MX, "192.0.2.1", "Untrusted")


def test_enforced_policy() -> None:
    session = session_of(VERIFIED, facts(sts(Mode.ENFORCE)))
    assert (session.policy.type, session.policy.strings) == (PolicyType.STS, ("version: STSv1", "mode: enforce"))
    assert session.policy.mx == (MX,)
    assert not session.failed


@pytest.mark.parametrize("told", [GOOD, UNTRUSTED])
@pytest.mark.parametrize(
    "known", [facts(sts(Mode.ENFORCE)), facts(None, MxHost(MX, 1, True, Tlsa.USABLE, ("3 1 1 AB",)))]
)
def test_a_policy_that_did_not_hold_yet_is_no_success(told: LogSession, known: Facts) -> None:
    session = session_of(told, known)
    assert (session.policy.type, session.failed) == (PolicyType.NONE, False)


def test_dane_has_the_records_of_the_host() -> None:
    host = MxHost(MX, 1, True, Tlsa.USABLE, ("3 1 1 AB",))
    other = MxHost("mx2.a.example", 2, True, Tlsa.NONE)
    session = session_of(VERIFIED, facts(None, host, other))
    assert (session.policy.type, session.policy.domain, session.policy.strings) == (PolicyType.TLSA, MX, ("3 1 1 AB",))
    assert session_of(
        LogSession("a.example", "mx2.a.example", "", "Verified"), facts(None, host, other)
    ).policy.type is (PolicyType.NONE)


def test_tlsrpt_25_nothing_known_and_mode_none() -> None:
    for known in (None, facts(), facts(sts(Mode.NONE))):
        session = session_of(UNTRUSTED, known)
        assert (session.policy.type, session.failed) == (PolicyType.NONE, False)


def test_tlsrpt_25_mode_testing() -> None:
    tested = facts(sts(Mode.TESTING))
    assert session_of(GOOD, tested).policy.type is PolicyType.NONE
    session = session_of(UNTRUSTED, tested)
    assert (session.policy.type, session.failed) == (PolicyType.STS, True)
    assert session.failures[0].result is Result.NOT_TRUSTED
    other = session_of(GOOD, facts(sts(Mode.TESTING, "mx.other.example")))
    assert (other.policy.type, other.failures[0].reason) == (PolicyType.STS, "mx-mismatch")


def test_policy_that_could_not_be_had() -> None:
    known = facts(StsFact("a.example", signalled=True, failure=StsFailure.WEBPKI, reason="expired"))
    session = session_of(GOOD, known)
    assert session.failures == (Failure(Result.STS_WEBPKI, reason="expired"),)
