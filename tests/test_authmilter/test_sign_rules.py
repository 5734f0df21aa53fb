"""What is signed, by whom, and what stands in the field (RFC 6376 §5)."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from authmilter.dkim import signature
from authmilter.facts import HeaderField
from authmilter.logline import log_fields
from authmilter.sign import table
from authmilter.sign.keyring import read_keys
from authmilter.transaction import Outcome
from tests.support.dkim_signer import split_message
from tests.support.inbound import run_message, settings_of, setup_of
from tests.support.signing import NOBODY, Keys, submit, with_added
from tests.support.zone_resolver import ZoneResolver
from tests.test_authmilter.test_sign_peer import verify_here

MESSAGE = b"From: Alice <alice@example.org>\r\nTo: b@home.example\r\nSubject: Hello\r\n\r\nHello\r\n"
PROTECTED = ["from", "to", "cc", "subject", "mime-version", "content-type", "content-transfer-encoding"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def tables(keys: Keys) -> dict[str, Any]:
    identities = {
        "org": ("example.org", "s1", "rsa"),
        "ed": ("example.org", "e1", "ed25519"),
        "net": ("example.net", "s1", "rsa"),
        "alice": ("alice.example.org", "a1", "ed25519"),
    }
    patterns = {
        "example.org": ["org", "ed"],
        "*.example.org": ["org"],
        "*.deep.example.org": ["ed"],
        "alice@sub.example.org": ["alice"],
        "example.net": ["net"],
        "bücher.example": ["net"],
    }
    return keys.tables(identities, patterns)


def changed(tables: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {**tables, "sign": {**tables["sign"], **settings}}


def who(outcome: Outcome) -> list[str]:
    return [f"{one.domain}:{one.selector}" for one in outcome.made.signed]


def by(author: str) -> bytes:
    return MESSAGE.replace(b"Alice <alice@example.org>", author.encode())


def field_of(outcome: Outcome) -> signature.Signature:
    name, value = outcome.actions.headers_add[0]
    assert name == "DKIM-Signature"
    return signature.parse(b" " + value.replace("\n", "\r\n").encode())


@pytest.mark.parametrize(
    ("author", "expected"),
    [
        ("alice@example.org", ["example.org:s1", "example.org:e1"]),
        ("ALICE@EXAMPLE.ORG", ["example.org:s1", "example.org:e1"]),
        ("a@sub.example.org", ["example.org:s1"]),
        ("Alice@sub.example.org", ["alice.example.org:a1"]),
        ('"alice"@sub.example.org', ["alice.example.org:a1"]),
        ("a@x.deep.example.org", ["example.org:e1"]),
        ("a@deep.example.org", ["example.org:s1"]),
        ("j@BÜCHER.example", ["example.net:s1"]),
        ("j@xn--bcher-kva.example", ["example.net:s1"]),
        ("a@notexample.org", []),
        ("a@example.com", []),
        ("a@org", []),
        # every Author Domain of ours is signed for, and only those
        ("alice@example.org, a@example.net", ["example.org:s1", "example.org:e1", "example.net:s1"]),
        ("a@example.com, a@example.net", ["example.net:s1"]),
        ("a@example.org, b@example.org", ["example.org:s1", "example.org:e1"]),
        # nobody can say who the author is
        ("alice@example.org\r\nFrom: b@example.org", []),
        ("alice@example.org b@example.com", []),
        ("no address", []),
        ("", []),
        ("Team: alice@example.org;", ["example.org:s1", "example.org:e1"]),
        ("x" * 600 + " <alice@example.org>", ["example.org:s1", "example.org:e1"]),
    ],
)
def test_who_signs(tables: dict[str, Any], author: str, expected: list[str]) -> None:
    assert who(submit(by(author), tables)) == expected


@pytest.mark.parametrize(
    "author", ["alice@example.org\r\nFrom: b@example.org", "no address", "a@example.org b@x.example"]
)
def test_a_from_that_nobody_can_read_is_said(tables: dict[str, Any], author: str) -> None:
    outcome = submit(by(author), tables)
    assert re.search(r" unsigned=\"not signed: .*From|is no address|follows", str(log_fields(outcome)))
    assert outcome.verdict.decision == "accept"


def test_sender_plays_no_part(tables: dict[str, Any]) -> None:
    message = b"Sender: alice@example.org\r\n" + by("a@example.com")
    assert who(submit(message, tables)) == []


@pytest.mark.parametrize(
    ("client", "signs"),
    [
        ({"auth_user": "alice"}, True),
        ({"ip": "198.51.100.7"}, True),  # [trust] networks
        ({"ip": "127.0.0.1", "local": True}, True),
        ({"ip": "203.0.113.9"}, False),
        ({"ip": "198.51.100.8"}, False),  # keep_results_from: a relay of ours, with mail of strangers
        ({"ip": "198.51.100.8", "auth_user": "alice"}, True),
    ],
)
def test_whose_mail_is_signed(tables: dict[str, Any], client: dict[str, Any], signs: bool) -> None:
    trust = {"networks": ["198.51.100.7/32", "198.51.100.8/32"], "keep_results_from": ["198.51.100.8/32"]}
    outcome = submit(MESSAGE, {**tables, "trust": trust}, **{"auth_user": "", **client})
    assert bool(outcome.made.signed) == signs
    assert any(name == "DKIM-Signature" for name, _ in outcome.actions.headers_add) == signs
    assert ("signed=example.org:s1,example.org:e1" in str(log_fields(outcome))) == signs


SPOOF = b"From: ceo@example.org\r\nTo: b@home.example\r\nSubject: Pay\r\n\r\nPay now\r\n"


def test_a_forgery_that_a_user_redirects_is_not_signed(tables: dict[str, Any]) -> None:
    """p=none lets it in; Sieve's redirect, say, then sends it on from this host."""
    zone = ZoneResolver('_dmarc.example.org 300 IN TXT "v=DMARC1; p=none"\n')
    came_in = run_message(SPOOF, zone, tables=tables, mail_from="x@evil.example")
    assert came_in.verdict.decision == "accept"
    for client in ({"ip": "127.0.0.1", "local": True, "auth_user": ""}, {"auth_user": "b"}):
        outcome = submit(with_added(SPOOF, came_in), tables, **client)
        assert who(outcome) == []
        reason = "not signed for example.org: this message came from outside, and DMARC did not pass then"
        assert outcome.made.unsigned == reason
        assert outcome.actions.headers_remove == (("Authentication-Results", 1),)


@pytest.mark.parametrize(
    ("results", "signs"),
    [
        ("mx.home.example; dmarc=fail (p=none) header.from=example.org policy.dmarc=none", False),
        ("MX.home.example; dmarc=none header.from=EXAMPLE.org", False),
        ("mx.home.example; dmarc=temperror header.from=example.org", False),
        ("mx.home.example; dmarc=pass header.from=example.org", True),
        ("mx.home.example; dmarc=fail header.from=example.com", True),  # a list server has put in its own address
        ("mx.home.example; dmarc=fail header.from=sub.example.org", True),
        ("mx.home.example; spf=fail smtp.mailfrom=example.org; dkim=fail header.d=example.org", True),
        ("mx.home.example; auth=pass smtp.auth=alice", True),
        ("mx.other.example; dmarc=fail header.from=example.org", True),
        ("mx.home.example; dmarc=fail header.from=example.org (", True),  # nothing that we would have written
    ],
)
def test_mail_that_was_here_before(tables: dict[str, Any], results: str, signs: bool) -> None:
    message = f"Authentication-Results: {results}\r\n".encode() + MESSAGE
    assert bool(who(submit(message, tables))) == signs


@pytest.mark.parametrize("author", ["root@localhost", "a@under_score.example.com"])
def test_a_domain_that_no_verifier_would_take(keys: Keys, author: str) -> None:
    """With d= left out of the settings it is the Author Domain, whatever that is (RFC 6376 §3.5)."""
    tables = keys.tables({"all": ("", "s1", "rsa")}, {"*": ["all"]})
    outcome = submit(by(author), tables)
    domain = author.partition("@")[2]
    assert (who(outcome), outcome.made.unsigned) == ([], f"not signed for {domain}: it cannot be d= of a signature")
    assert who(submit(by("a@example.com"), tables)) == ["example.com:s1"]


def test_nothing_is_kept_of_own_mail_without_a_table() -> None:
    outcome = submit(MESSAGE, {})
    assert (outcome.actions.headers_add, outcome.made.unsigned) == ((), "")


@pytest.mark.parametrize(
    ("authenticated", "mail_from", "login", "author", "signs"),
    [
        ("any", "x@example.com", "bob", "alice@example.org", True),
        ("sender", "x@example.org", "bob", "alice@example.org", True),
        ("sender", "x@EXAMPLE.ORG", "bob", "alice@example.org", True),
        ("sender", "x@example.net", "bob@example.org", "alice@example.org", False),
        ("sender", "", "bob@example.org", "alice@example.org", False),
        ("login", "x@example.net", "bob@example.org", "alice@example.org", True),
        ("login", "x@example.org", "bob@example.net", "alice@example.org", False),
        ("login", "x@example.org", "example.org", "alice@example.org", False),
    ],
)
def test_as_whom_a_user_may_write(
    tables: dict[str, Any], authenticated: str, mail_from: str, login: str, author: str, signs: bool
) -> None:
    outcome = submit(by(author), changed(tables, authenticated=authenticated), mail_from=mail_from, auth_user=login)
    assert bool(outcome.made.signed) == signs
    assert outcome.verdict.decision == "accept"
    assert bool(outcome.made.unsigned) != signs


def test_trusted_networks_and_local_mail_are_not_asked_for_a_login(tables: dict[str, Any]) -> None:
    strict = changed(tables, authenticated="login")
    assert submit(MESSAGE, strict, auth_user="", ip="127.0.0.1", local=True, mail_from="").made.signed


def test_one_of_two_authors_may_be_refused(tables: dict[str, Any]) -> None:
    message = by("alice@example.org, a@example.net")
    outcome = submit(message, changed(tables, authenticated="sender"), mail_from="a@example.net")
    assert who(outcome) == ["example.net:s1"]
    assert outcome.made.unsigned == "not signed for example.org: it is not the domain of the sender"


def test_the_field(tables: dict[str, Any]) -> None:
    setup = setup_of(NOBODY, tables, now=lambda: 1_800_000_000.9)
    read = field_of(submit(MESSAGE, tables, setup=setup))
    assert (read.defect, read.domain, read.selector, read.identity) == (None, "example.org", "s1", "@example.org")
    assert (read.algorithm, read.relaxed_header, read.relaxed_body) == ("rsa-sha256", True, True)
    assert (read.timestamp, read.expires, read.length) == (1_800_000_000, None, None)
    names = [name.decode() for name in read.signed]
    assert [name for name in names if names.count(name) > 1] == ["from", "from", "to", "to", "subject", "subject"]
    assert {name for name in names if names.count(name) == 1} == set(PROTECTED) - {"from", "to", "subject"}


def test_expiry_and_canonicalization(tables: dict[str, Any]) -> None:
    settings = changed(tables, lifetime=604_800, canonicalization="simple/relaxed")
    read = field_of(submit(MESSAGE, settings, setup=setup_of(NOBODY, settings, now=lambda: 1_800_000_000)))
    assert (read.timestamp, read.expires) == (1_800_000_000, 1_800_604_800)
    assert (read.relaxed_header, read.relaxed_body) == (False, True)


def test_what_may_be_added_later_is_oversigned_only_where_it_is(tables: dict[str, Any]) -> None:
    late = ["date", "message-id", "reply-to"]
    names = [name.decode() for name in field_of(submit(MESSAGE, tables)).signed]
    assert not set(late) & set(names)
    extra = b"Date: x\r\nMessage-ID: <1@a>\r\nReply-To: c@example.org\r\n"
    names = [name.decode() for name in field_of(submit(extra + MESSAGE, tables)).signed]
    assert [names.count(name) for name in late] == [2, 2, 2]


@pytest.mark.parametrize("name", PROTECTED)
def test_no_further_field_can_be_added(keys: Keys, tables: dict[str, Any], name: str) -> None:
    signed = with_added(MESSAGE, submit(MESSAGE, tables))
    assert verify_here(signed, keys.records) == ["pass", "pass"]
    assert verify_here(name.encode() + b": x\r\n" + signed, keys.records) == ["fail", "fail"]


def test_fields_of_ones_own_choice(keys: Keys, tables: dict[str, Any]) -> None:
    settings = changed(tables, headers=["Subject", "X-Ours"], oversign=[])
    message = b"X-Ours: 1\r\nx-ours: 2\r\n" + MESSAGE
    outcome = submit(message, settings)
    assert field_of(outcome).signed == (b"from", b"from", b"subject", b"x-ours", b"x-ours")
    signed = with_added(message, outcome)
    assert verify_here(signed.replace(b"To: b@", b"To: c@"), keys.records) == ["pass", "pass"]
    assert verify_here(signed.replace(b"x-ours: 2", b"x-ours: 3"), keys.records) == ["fail", "fail"]


def test_a_field_that_is_there_a_thousand_times(keys: Keys, tables: dict[str, Any]) -> None:
    message = b"References: <1@a>\r\n" * 1000 + MESSAGE
    outcome = submit(message, tables)
    assert field_of(outcome).signed.count(b"references") == 50
    assert verify_here(with_added(message, outcome), keys.records) == ["pass", "pass"]


def test_what_is_removed_is_not_signed_and_what_is_added_stands_below(keys: Keys, tables: dict[str, Any]) -> None:
    settings = {**changed(tables, headers=["BIMI-Selector", "X-A"]), "results": {"auth": True}}
    message = b"Authentication-Results: mx.home.example; dmarc=pass\r\nBIMI-Indicator: x\r\n" + MESSAGE
    outcome = submit(message, settings)
    assert [name for name, _ in outcome.actions.headers_add] == ["DKIM-Signature"] * 2 + ["Authentication-Results"]
    assert len(outcome.actions.headers_remove) == 2
    kept = message.partition(b"BIMI-Indicator: x\r\n")[2]
    assert verify_here(with_added(kept, outcome), keys.records) == ["pass", "pass"]


def test_a_removed_field_of_a_name_that_is_signed(keys: Keys, tables: dict[str, Any]) -> None:
    from authmilter.actions import Actions, after
    from authmilter.verdict import Decision

    fields = [
        HeaderField(b"X-A", b" 1"),
        HeaderField(b"x-a ", b" 2"),
        HeaderField(b"B", b" 3"),
        HeaderField(b"X-A", b"4"),
    ]
    actions = Actions(Decision.ACCEPT, (("New", "a\n\tb"),), (("X-A", 3), ("X-A", 1)))
    assert after(fields, actions) == [HeaderField(b"New", b" a\r\n\tb"), fields[1], fields[2]]


def test_own_mail_with_a_header_out_of_all_proportion_goes_unsigned(tables: dict[str, Any]) -> None:
    big = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 60_000) for number in range(80))
    claim = b"Authentication-Results: mx.home.example; dmarc=pass\r\n"
    outcome = submit(claim + big + claim + MESSAGE, tables)
    assert (outcome.verdict.decision, who(outcome)) == ("accept", [])
    assert outcome.actions.headers_remove == (("Authentication-Results", 2), ("Authentication-Results", 1))


def test_several_domains_with_one_key(keys: Keys) -> None:
    file = str(keys.add("example.com", "s1"))
    settings = {"sign": {"keys": {"all": {"selector": "s1", "file": file}}, "table": {"*": ["all"]}}}
    assert who(submit(by("a@one.example, b@two.example"), settings)) == ["one.example:s1", "two.example:s1"]


def test_a_message_signed_eight_times_at_most(keys: Keys) -> None:
    file = str(keys.add("example.com", "s1"))
    settings = {"sign": {"keys": {"all": {"selector": "s1", "file": file}}, "table": {"*": ["all"]}}}
    authors = ", ".join(f"a@{number}.example" for number in range(20))
    assert len(who(submit(by(authors), settings))) == 8


# Keys that are gone


@pytest.fixture
def lost(keys: Keys, tmp_path: Path) -> dict[str, Any]:
    return Keys(tmp_path).tables({"org": ("example.org", "s1", "rsa")}, {"example.org": ["org"]})


def test_a_missing_key_loses_no_mail(lost: dict[str, Any]) -> None:
    Path(lost["sign"]["keys"]["org"]["file"]).unlink()
    outcome = submit(MESSAGE, lost)
    assert (outcome.verdict.decision, who(outcome), outcome.made.missing_key) == ("accept", [], True)
    assert outcome.made.unsigned.startswith("not signed by org: ")
    assert "there is no such file" in str(log_fields(outcome))


def test_a_missing_key_defers_but_not_for_ever(lost: dict[str, Any]) -> None:
    path = Path(lost["sign"]["keys"]["org"]["file"])
    pem = path.read_bytes()
    path.write_bytes(b"")
    settings = {**changed(lost, on_missing_key="tempfail"), "dmarc": {"max_deferral": 3600}}
    clock = [1000.0]
    setup = setup_of(NOBODY, settings)
    deferrals = type(setup.deferrals)(lambda: clock[0])
    setup = dataclasses.replace(setup, deferrals=deferrals)
    first = submit(MESSAGE, settings, setup=setup)
    assert (first.verdict.decision, first.verdict.rule) == ("tempfail", "no-key")
    assert str(first.actions.reply) == "451 4.3.5 This message cannot be signed now; try again later"
    assert first.actions.headers_add == ()
    clock[0] += 3599
    assert submit(MESSAGE, settings, setup=setup).verdict.decision == "tempfail"
    clock[0] += 2
    assert submit(MESSAGE, settings, setup=setup).verdict.decision == "accept"
    # once it could be signed again, the next loss of the key defers anew
    path.write_bytes(pem)
    there = dataclasses.replace(setup_of(NOBODY, settings), deferrals=deferrals)
    assert who(submit(MESSAGE, settings, setup=there)) == ["example.org:s1"]
    assert submit(MESSAGE, settings, setup=setup).verdict.decision == "tempfail"
    # mail that the key would not have signed goes on
    assert submit(by("a@example.com"), settings).verdict.decision == "accept"


def test_the_other_keys_sign(keys: Keys, tables: dict[str, Any], lost: dict[str, Any]) -> None:
    file = lost["sign"]["keys"]["org"]["file"]
    both = changed(tables, keys={**tables["sign"]["keys"], "org": {**tables["sign"]["keys"]["org"], "file": file}})
    Path(file).unlink()
    outcome = submit(MESSAGE, both)
    assert (who(outcome), outcome.made.missing_key) == (["example.org:e1"], True)


def test_a_key_that_was_there_stays(lost: dict[str, Any]) -> None:
    signing = settings_of(lost).signing()
    before = read_keys(signing)
    file = lost["sign"]["keys"]["org"]["file"]
    Path(file).unlink()
    after_wards = read_keys(signing, former=before)
    assert after_wards.keys[file] is before.keys[file]
    assert "no such file" in after_wards.faults[file]
    assert not re.search("PRIVATE|[A-Za-z0-9+/]{40}", repr(after_wards))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Example.ORG", "example.org"),
        ("*.Bücher.example", "*.xn--bcher-kva.example"),
        ("A.B@Example.org", "a.b@example.org"),
        ("*", "*"),
    ],
)
def test_patterns(text: str, normal: str) -> None:
    assert table.normal_pattern(text) == normal


@pytest.mark.parametrize(
    "text", ["", "@example.org", "*@example.org", "a@*.example.org", "*.", "a b", "*.*.example", "**"]
)
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        table.normal_pattern(text)


def test_fields_are_split_as_the_tests_expect() -> None:
    assert len(split_message(MESSAGE)[0]) == 3
