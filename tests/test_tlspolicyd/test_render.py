"""Policy lines: what Postfix gets, and that nothing from outside changes what it reads."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.postfix_policy import PolicyLine, read_policy_line
from tests.support.tls_facts import DOMAIN, dane, facts, sts
from tlspolicyd.decide import decide
from tlspolicyd.facts import Decision, Failure, Level, Mode, Policy, Source, StsFact, Tlsa
from tlspolicyd.render import MAX_REPLY, policy_line, render, temp

LINES = ("version: STSv1", "mode: enforce", "mx: mx.a.example", "mx: *.b.example", "max_age: 604800")


def secure(*mx: str, lines: tuple[str, ...] = LINES, domain: str = DOMAIN) -> Decision:
    fact = sts(Mode.ENFORCE, *mx, lines=lines)
    return Decision(domain, Level.SECURE, Source.MTA_STS, "sts-enforce", "because", fact)


def read(decision: Decision, tlsrpt: bool) -> PolicyLine:
    line = policy_line(render(decision, tlsrpt))
    assert line is not None
    return read_policy_line(line, tlsrpt)


def test_pfx_34_enforce() -> None:
    reply = render(secure("mx.a.example", "*.b.example"), tlsrpt=False)
    assert reply == b"OK secure match=mx.a.example:.b.example servername=hostname"


def test_pfx_35_attributes_of_postfix_3_10() -> None:
    assert render(secure("mx.a.example", "*.b.example"), tlsrpt=True) == (
        b"OK secure match=mx.a.example:.b.example servername=hostname policy_type=sts policy_domain=a.example"
        b" mx_host_pattern=mx.a.example mx_host_pattern=*.b.example { policy_string = version: STSv1 }"
        b" { policy_string = mode: enforce } { policy_string = mx: mx.a.example } { policy_string = mx: *.b.example }"
        b" { policy_string = max_age: 604800 }"
    )


@pytest.mark.parametrize("tlsrpt", [False, True])
@pytest.mark.parametrize(
    ("level", "reply"),
    [(Level.DANE, b"OK dane"), (Level.DANE_ONLY, b"OK dane-only"), (Level.NOT_FOUND, b"NOTFOUND ")],
)
def test_pfx_36_no_report_attributes_without_sts(level: Level, reply: bytes, tlsrpt: bool) -> None:
    decision = replace(secure("mx.a.example"), level=level)
    assert render(decision, tlsrpt) == reply


@pytest.mark.parametrize("tlsrpt", [False, True])
@pytest.mark.parametrize("mode", [Mode.TESTING, Mode.NONE, None])
def test_pfx_39_nothing_to_enforce_is_notfound(mode: Mode | None, tlsrpt: bool) -> None:
    assert render(decide(facts(dane(Tlsa.NONE), sts(mode, lines=LINES))), tlsrpt) == b"NOTFOUND "


def test_pfx_32_pfx_41_temp_carries_a_plain_reason() -> None:
    assert temp("the store is down") == b"TEMP the store is down"
    assert temp("a\nb\tc\x00d é \x1b[31m") == b"TEMP a?b?c?d ? ?[31m"
    assert temp("") == temp(" \n ".replace("\n", " ")) == b"TEMP no policy can be told now"
    assert len(temp("x" * 10_000)) < 300
    decision = replace(secure("mx.a.example"), level=Level.TEMP, reason="no store")
    assert render(decision, tlsrpt=True) == b"TEMP no store"


@pytest.mark.parametrize("mx", ["hostname", "HostName", "nexthop", "dot-nexthop"])
def test_pfx_34_words_with_a_meaning_for_postfix_are_no_names(mx: str) -> None:
    """match=hostname would accept the name of whatever host a forged MX record points to."""
    assert read(secure(mx, "mx.a.example"), tlsrpt=False).names() == ["mx.a.example"]
    assert read(secure(f"*.{mx}"), tlsrpt=False).names() == [f".{mx}"]


@pytest.mark.parametrize("mx", [("hostname",), ("bad name",), ("",), ("192.0.2.1",), ("*.",), ("*",), ("{",)])
def test_pfx_34_pfx_36_never_an_empty_match(mx: tuple[str, ...]) -> None:
    decision = decide(facts(dane(Tlsa.NONE), sts(Mode.ENFORCE, *mx, lines=LINES)))
    assert render(decision, tlsrpt=False).startswith(b"TEMP the MTA-STS policy names no host")
    policy = read(decision, tlsrpt=True)
    assert policy.names() == ["unusable-policy.invalid"]
    assert policy.all("policy_failure") == ["sts-policy-invalid"]
    assert policy.all("mx_host_pattern") == []


def test_pfx_36_policy_failure_never_with_a_policy_that_can_be_obeyed() -> None:
    decision = secure("mx.a.example")
    assert decision.sts is not None
    failed = replace(decision, sts=replace(decision.sts, failure=Failure.FETCH))
    assert read(failed, tlsrpt=True).all("policy_failure") == []


@pytest.mark.parametrize("tlsrpt", [False, True])
def test_secure_without_a_policy_is_never_weaker(tlsrpt: bool) -> None:
    for fact in (None, sts()):
        assert render(replace(secure("mx.a.example"), sts=fact), tlsrpt) == b"TEMP because"


INJECTIONS = [
    "mx: a } match=evil.example { policy_string = x",
    "x: }",
    "x: {",
    "x: a\nmatch=evil.example",
    "x: a\rmatch=evil.example",
    "x: a\x00b",
    "x: a, servername=evil.example",
    "x: é",
    "",
    "   ",
]


@pytest.mark.parametrize("line", INJECTIONS)
def test_pfx_37_lines_of_the_policy_add_nothing(line: str) -> None:
    policy = read(secure("mx.a.example", lines=(LINES[0], line, LINES[1])), tlsrpt=True)
    assert policy.names() == ["mx.a.example"]
    assert policy.all("servername") == ["hostname"]
    assert policy.all("policy_string") in ([*LINES[:2]], [LINES[0], line, LINES[1]])


@pytest.mark.parametrize(
    "mx",
    [
        "mx.a.example match=evil.example", "mx.a.example:evil.example", "mx.a.example,evil.example", "a}b.example",
        "mx.a.example\nx=y", "*.*.a.example", "-a.example", "a..example", ".a.example", "mx.a.example.",
        "münchen.example",
    ],
)  # fmt: skip
def test_pfx_37_patterns_that_are_no_names_are_left_out(mx: str) -> None:
    policy = read(secure("mx.a.example", mx), tlsrpt=True)
    assert policy.names() == policy.all("mx_host_pattern") == ["mx.a.example"]


def test_pfx_37_a_domain_that_is_no_name_gets_no_report() -> None:
    line = policy_line(render(secure("mx.a.example", domain="a.example x=y"), tlsrpt=True))
    assert line == "secure match=mx.a.example servername=hostname"


def test_tabs_become_blanks_as_postfix_would_do() -> None:
    policy = read(secure("mx.a.example", lines=("mode:\tenforce\t",)), tlsrpt=True)
    assert policy.all("policy_string") == ["mode: enforce"]


def test_pfx_32_a_reply_fits() -> None:
    for count in (500, 1500, 3000, 20_000):
        mx = tuple(f"mx{number}.sub.a.example" for number in range(count))
        decision = secure(*mx, lines=tuple(f"mx: {name}" for name in mx))
        for tlsrpt in (False, True):
            reply = render(decision, tlsrpt)
            assert len(reply) <= MAX_REPLY
            line = read_policy_line((policy_line(reply) or ""), tlsrpt)
            patterns = line.all("mx_host_pattern")
            assert patterns in ([], line.names())  # all or none: Postfix 3.10.5 refuses hosts beside them
            assert line.all("policy_string") in ([], [f"mx: {name}" for name in mx])
            assert line.names() == list(mx[: len(line.names())])
            assert len(line.names()) == count or count == 20_000


HOSTILE = st.text(st.sampled_from("ab.*{}=,: \t\r\n\0\\\"'#é-_1") | st.characters(), max_size=30)
WORDS = st.sampled_from(
    ["mx.a.example", "*.b.example", "hostname", "match=x.example", "servername=x", "}", "{", "dane"]
)
PATTERNS = st.lists(st.one_of(HOSTILE, WORDS, st.lists(WORDS, max_size=3).map(" ".join)), max_size=5)


@given(PATTERNS, PATTERNS, st.sampled_from(list(Failure)) | st.none(), st.booleans())
@example(["mx.a.example"], ["mx: a } match=evil.example { policy_string = x"], None, True)
@example(["mx.a.example:evil.example"], [], None, False)
def test_pfx_37_postfix_reads_what_was_meant(
    mx: list[str], lines: list[str], why: Failure | None, tlsrpt: bool
) -> None:
    policy = Policy(Mode.ENFORCE, tuple(mx), 86_400, tuple(lines))
    fact = StsFact(DOMAIN, policy, failure=why)
    decision = decide(facts(dane(Tlsa.NONE), fact))
    reply = render(decision, tlsrpt)
    assert reply.isascii()
    assert reply.decode().isprintable()
    if reply.startswith(b"TEMP "):
        assert not tlsrpt
        return
    read_back = read_policy_line(policy_line(reply) or "", tlsrpt)
    assert read_back.level == "secure"
    assert read_back.all("servername") == ["hostname"]
    allowed = {each[1:] if each.startswith("*.") else each for each in mx} - {"hostname"}
    names = set(read_back.names())
    assert names
    assert names <= allowed or names == {"unusable-policy.invalid"}
    assert set(read_back.all("mx_host_pattern")) <= set(mx)
    meant = [" ".join(line.split()) for line in lines]
    assert all(text in meant for text in read_back.all("policy_string"))
    assert {name for name, _ in read_back.attributes} <= (
        {"match", "servername"}
        | ({"policy_type", "policy_domain", "mx_host_pattern", "policy_string", "policy_failure"} if tlsrpt else set())
    )
    assert read_back.all("policy_domain") == ([DOMAIN] if tlsrpt else [])


@given(st.text(max_size=300), st.booleans())
def test_reasons_from_outside_stay_one_line(reason: str, tlsrpt: bool) -> None:
    reply = render(replace(secure("mx.a.example"), level=Level.TEMP, reason=reason), tlsrpt)
    assert reply.startswith(b"TEMP ")
    assert reply.isascii()
    assert reply.decode().isprintable()
