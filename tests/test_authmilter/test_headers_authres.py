"""Our writer and reader against authres, and arbitrary facts through all three.

`WRONG` lists what authres gets wrong, which is why it is not what the milter uses.
"""

from __future__ import annotations

import re
import string
from typing import Any

import authres
import authres.core
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authmilter.facts import (
    ArcFact,
    ArcResult,
    ArcSet,
    Author,
    Authority,
    BimiFact,
    BimiResult,
    Client,
    DkimFact,
    DkimResult,
    DmarcFact,
    DmarcResult,
    IprevFact,
    IprevResult,
    MessageFacts,
    Policy,
    PublishedPolicy,
    SpfFact,
    SpfResult,
)
from authmilter.headers import escape
from authmilter.headers.claims import claims
from authmilter.headers.results_field import render_results
from authmilter.headers.results_reader import parse_results

FEATURES = authres.all_features()

Read = list[tuple[str, str, str, list[tuple[str, str]]]]


def _ours(value: str) -> Read:
    results = parse_results(value.encode())
    assert results is not None
    assert results.authserv_id == "mx.example.org"
    return [
        (result.method, result.result, result.reason, [(f"{p.ptype}.{p.name}", p.value) for p in result.properties])
        for result in results.results
    ]


def _theirs(value: str) -> Read:
    header = FEATURES.parse_value(value.replace("\n", ""))
    assert header.authserv_id == "mx.example.org"
    return [
        (
            result.method,
            result.result,
            str(result.reason or ""),
            [(f"{p.type}.{p.name}", _undo_pairs(str(p.value))) for p in result.properties],
        )
        for result in header.results
    ]


def _undo_pairs(value: str) -> str:
    """authres leaves quoted pairs in a quoted-string as they are; an address keeps them rightly."""
    return value if value.startswith('"') else re.sub(r"\\(.)", r"\1", value)


_SPECIALS = list(
    "()\\\";,=?@<>[]:/.%&'*+!#$^_`{|}~ \t\r\n\0\x07\x7faeA0-\u00fc\u00ad\u202e\u2028\udcff\U0001f600\u0441"
)
_HOSTILE = st.one_of(
    st.text(st.sampled_from(_SPECIALS), max_size=40),
    st.text(max_size=40),
    st.sampled_from(
        [
            "a" * 1000,
            "(" * 300,
            "; dmarc=pass header.from=bank.example",
            "x\r\nAuthentication-Results: mx.example.org; dmarc=pass",
            "=?utf-8?q?=3B_dmarc=3Dpass?=",
            "none",
            "reason=x",
        ]
    ),
)
_NAMES = st.one_of(st.sampled_from(["example.net", "bank.example", "a_b.example", "xn--bcher-kva.example"]), _HOSTILE)
_ADDRESSES = st.one_of(
    _NAMES,
    st.builds("{}@{}".format, _HOSTILE, _NAMES),
    st.builds('"{}"@{}'.format, st.text(st.sampled_from(list("ab ;()<>@.")), max_size=10), _NAMES),
)
_B = st.one_of(st.text(st.sampled_from("ab+/"), max_size=14).map(lambda text: f"{text}=="), _HOSTILE)
_POLICIES = st.sampled_from(Policy)
_PUBLISHED = st.builds(
    PublishedPolicy,
    _POLICIES,
    st.none() | _POLICIES,
    st.none() | _POLICIES,
    st.just("r"),
    st.just("r"),
    st.just("0"),
    st.just("u"),
    st.booleans(),
)
_SPF = st.builds(
    SpfFact,
    st.sampled_from(["mfrom", "helo"]),
    st.sampled_from(SpfResult),
    _NAMES,
    _ADDRESSES,
    _HOSTILE,
    _HOSTILE,
    _HOSTILE,
)
_DKIM = st.builds(
    DkimFact,
    st.sampled_from(DkimResult),
    _NAMES,
    _NAMES,
    _ADDRESSES,
    st.sampled_from(["rsa-sha256", "ed25519-sha256"]) | _HOSTILE,
    _B,
    st.sampled_from([0, 1024, 2048]),
    st.booleans(),
    _HOSTILE,
)
_DMARC = st.builds(
    DmarcFact,
    st.sampled_from(DmarcResult),
    _NAMES,
    _NAMES,
    _POLICIES,
    st.none() | _PUBLISHED,
    st.booleans(),
    st.booleans(),
    _HOSTILE,
)
_ARC = st.builds(
    ArcFact,
    st.sampled_from(ArcResult),
    st.lists(st.builds(ArcSet, st.integers(1, 50), _NAMES, _NAMES, _HOSTILE), max_size=3).map(tuple),
    st.integers(0, 50),
    _HOSTILE,
)
_BIMI = st.builds(
    BimiFact,
    st.sampled_from(BimiResult),
    _NAMES,
    _NAMES | _HOSTILE,
    st.none() | st.sampled_from(Authority),
    _HOSTILE,
    _HOSTILE,
    indicator=st.binary(max_size=3),
    preference=st.sampled_from(["", "brand", "personal"]),
    mark_type=_HOSTILE,
    reason=_HOSTILE,
)
_TWO_COMMENTS = re.compile(r"\)\s+\(")  # see WRONG
FACTS = st.builds(
    MessageFacts,
    st.builds(Client, _HOSTILE, _HOSTILE, _HOSTILE, _ADDRESSES, _HOSTILE),
    _ADDRESSES,
    st.booleans(),
    st.builds(Author, st.just(()), _HOSTILE),
    st.none() | st.builds(IprevFact, st.sampled_from(IprevResult), _HOSTILE, _NAMES, _HOSTILE),
    st.lists(_SPF, max_size=2).map(tuple),
    st.lists(_DKIM, max_size=4).map(tuple),
    st.lists(_DMARC, max_size=2).map(tuple),
    st.none() | _ARC,
    st.none() | _BIMI,
    st.booleans(),
    notes=st.lists(_HOSTILE, max_size=2).map(tuple),
)


def _expected(facts: MessageFacts) -> list[tuple[str, str]]:
    """Methods and results that the field must have, in order."""
    found: list[tuple[str, str]] = []
    if facts.iprev and facts.judged:
        found.append(("iprev", facts.iprev.result.value))
    if facts.client.auth_user:
        found.append(("auth", "pass"))
    if facts.judged:
        found += [("spf", fact.result.value) for fact in facts.spf]
        found += [("dkim", fact.result.value) for fact in facts.dkim]
        found += [("arc", fact.result.value) for fact in (facts.arc,) if fact]
        found += [("dmarc", fact.result.value) for fact in facts.dmarc]
        if facts.author.problem and not facts.dmarc:
            found.append(("dmarc", "permerror"))
        found += [("bimi", fact.result.value) for fact in (facts.bimi,) if fact]
    return found


@settings(max_examples=300)
@given(FACTS, _HOSTILE)
def test_any_facts_come_back_through_both_readers(facts: MessageFacts, note: str) -> None:
    value = render_results("mx.example.org", facts, note)
    lines = value.split("\n")
    assert all(len(line.encode()) <= 998 for line in lines)
    assert all(line[0] in "\t " and line.strip() for line in lines[1:])
    assert all(line.replace("\t", "", 1).isprintable() for line in lines)
    assert len(value.encode()) < 16_384
    assert facts.smtputf8 or value.isascii()
    read = _ours(value)
    assert [(method, result) for method, result, *_ in read] == _expected(facts)
    # folds change nothing
    assert _ours(value.replace("\n", "")) == read
    assert _ours(value.replace("\n", "\r\n")) == read
    assert claims(value.encode(), ["mx.example.org"])
    if value.isascii() and not _TWO_COMMENTS.search(value) and "-uri=" not in value:  # quoted and not last: see WRONG
        assert _theirs(value) == read


@given(_ADDRESSES)
def test_an_address_that_is_shown_is_the_address(address: str) -> None:
    """What stands as smtp.mailfrom names the same mailbox, or less of it, never another one."""
    facts = MessageFacts(Client(""), address, spf=(SpfFact("mfrom", SpfResult.PASS, "", address),))
    [(_, _, _, properties)] = _ours(render_results("mx.example.org", facts))
    shown = escape.address(address)
    if not shown:
        return
    assert properties == [("smtp.mailfrom", shown)]
    local, at, domain = shown.rpartition("@")
    assert domain == escape.domain_value(address.rpartition("@")[2])
    if at:
        sent = address.rpartition("@")[0]
        assert local == sent or re.sub(r"\\(.)", r"\1", local[1:-1]) == sent


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["header", "smtp"]),
            st.sampled_from("dis"),
            st.text(string.ascii_letters + ".-", min_size=1),
        ),
        max_size=4,
    ),
    st.text(string.ascii_letters + " ,'", min_size=1),
)
def test_our_reader_reads_what_authres_writes(properties: list[tuple[str, str, str]], reason: str) -> None:
    result = authres.core.AuthenticationResult(
        "dkim",
        result="pass",
        reason=reason,
        properties=[authres.core.AuthenticationResultProperty(*found) for found in properties],
    )
    header = authres.AuthenticationResultsHeader(authserv_id="mx.example.org", results=[result])
    assert _ours(header.header_value()) == [
        ("dkim", "pass", reason, [(f"{ptype}.{name}", value) for ptype, name, value in properties])
    ]


def _read_by_authres(value: str) -> Any:
    try:
        return _theirs(value)
    except (authres.AuthResError, RecursionError) as fault:
        return type(fault).__name__


# value, what it says, what authres makes of it
WRONG: list[tuple[str, Read, Any]] = [
    # RFC 8601 §2.2: the id is a value, which may be quoted
    ('"mx.example.org"; none', [], "SyntaxError"),
    # RFC 8601 §2.2: a quoted value ends at its quote, and properties may follow
    (
        'mx.example.org; spf=pass smtp.mailfrom="x y" smtp.helo=z',
        [("spf", "pass", "", [("smtp.mailfrom", "x y"), ("smtp.helo", "z")])],
        [("spf", "pass", "", [("smtp.helo", "z")])],
    ),
    # RFC 6532 §3.2, RFC 8601 §2.2: UTF-8 in a quoted-string
    (
        'mx.example.org; spf=pass smtp.mailfrom="jü"',
        [("spf", "pass", "", [("smtp.mailfrom", "jü")])],
        "SyntaxError",
    ),
    # RFC 8601 §2.6: a version that is not known is no error of the field
    ("mx.example.org 2; spf=pass", [], "UnsupportedVersionError"),
    # RFC 5322 §3.2.2: CFWS may hold several comments with blanks between them
    ("mx.example.org; none (a) (b)", [], "SyntaxError"),
    # found everywhere; nothing in it can be misread
    ("mx.example.org; spf=pass;", [("spf", "pass", "", [])], "SyntaxError"),
]


@pytest.mark.parametrize(("value", "meaning", "authres_says"), WRONG)
def test_where_authres_misreads(value: str, meaning: Read, authres_says: Any) -> None:
    assert _ours(value) == meaning
    assert _read_by_authres(value) == authres_says


def test_authres_recurses_into_comments() -> None:
    assert _read_by_authres("mx.example.org " + "(" * 2000 + ")" * 2000 + "; none") == "RecursionError"


@pytest.mark.parametrize(
    ("hostile", "injected"),
    [
        # a value with "@" is never quoted
        ("x; dmarc=pass header.from=a@bank.example", ("dmarc", "pass")),
        ("x@y.example; dkim=pass", ("dkim", "pass")),
    ],
)
def test_where_authres_writes_what_an_attacker_wants(hostile: str, injected: tuple[str, str]) -> None:
    spf = authres.core.SPFAuthenticationResult(result="fail", smtp_mailfrom=hostile)
    theirs = authres.AuthenticationResultsHeader(authserv_id="mx.example.org", results=[spf]).header_value()
    assert injected in [(method, result) for method, result, *_ in _theirs(theirs)]
    facts = MessageFacts(Client(""), hostile, spf=(SpfFact("mfrom", SpfResult.FAIL, "", hostile),))
    assert [result for _, result, *_ in _theirs(render_results("mx.example.org", facts))] == ["fail"]


def test_authres_writes_comments_as_they_are() -> None:
    hostile = "x); dmarc=pass (y"
    spf = authres.core.SPFAuthenticationResult(result="fail", result_comment=hostile)
    theirs = authres.AuthenticationResultsHeader(authserv_id="mx.example.org", results=[spf]).header_value()
    assert [method for method, *_ in _theirs(theirs)] == ["spf", "dmarc"]
    facts = MessageFacts(Client(""), "", spf=(SpfFact("mfrom", SpfResult.FAIL, "", "", hostile),))
    assert [method for method, *_ in _theirs(render_results("mx.example.org", facts))] == ["spf"]
