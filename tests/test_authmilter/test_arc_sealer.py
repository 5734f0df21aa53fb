"""Sealing (RFC 8617 §5.1), validated by ourselves and by dkimpy."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import dkim
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authmilter.arc.check import ArcCheck
from authmilter.arc.seal_hash import seal_digest
from authmilter.arc.sealer import Sealed, Sealer
from authmilter.arc.settings import ArcSettings, SealSettings
from authmilter.check_message import as_object, authenticate
from authmilter.cli import main
from authmilter.dkim.bodies import Bodies
from authmilter.dkim.header_hash import Header, relaxed_field
from authmilter.dkim.settings import DkimSettings
from authmilter.facts import ArcFact, ArcResult, Client, HeaderField
from authmilter.logline import log_fields
from authmilter.sign.key import PrivateKey
from authmilter.sign.keyring import Keyring
from authmilter.sign.settings import SignSettings
from authmilter.sign.signer import Signer
from authmilter.transaction import Outcome
from mailcommon.settings import SettingsError
from tests.support.arc_sealer import seal
from tests.support.dkim_signer import dns_record, join_message, make_key, sign, split_message
from tests.support.inbound import run_message, settings_of
from tests.support.signing import Keys, with_added
from tests.support.zone_resolver import ZoneResolver

OTHER = make_key(bits=2048, serial=9)
PLAIN = b"From: a@one.example\r\nTo: b@c.example\r\nSubject: x\r\nDate: today\r\n\r\nHello\r\n"


class Host:
    """A host that seals as fwd.example, and the zone in which its key is."""

    def __init__(self, folder: Path) -> None:
        self.keys = Keys(folder)
        self.tables = {
            **self.keys.tables({"fwd": ("fwd.example", "s", "rsa")}, {}),
            "arc": {"seal": "fwd"},
            "dmarc": {"on_bad_from": "accept"},
        }
        self.keys.records["s._domainkey.other.example"] = dns_record(OTHER)

    def resolver(self, *faults: str) -> ZoneResolver:
        records = self.keys.records.items()
        return ZoneResolver("".join(f'{name} 300 IN TXT "{text}"\n' for name, text in records) + "\n".join(faults))

    def pass_on(self, message: bytes, *faults: str, **options: Any) -> tuple[bytes, Outcome]:
        """The message as it leaves this host."""
        outcome = run_message(message, self.resolver(*faults), **{"tables": self.tables, **options})
        return with_added(message, outcome), outcome

    def validate(self, message: bytes) -> ArcFact:
        fact = run_message(message, self.resolver()).facts.arc
        assert fact is not None
        return fact

    def peer(self, message: bytes) -> str:
        def record(name: bytes, timeout: int = 5) -> bytes:
            return self.keys.records[name.decode().rstrip(".")].encode()

        status, _, _ = dkim.arc_verify(message, dnsfunc=record)
        return (status or b"ended").decode()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(tmp_path_factory.mktemp("keys"))


def test_off_unless_set(host: Host) -> None:
    outcome = run_message(PLAIN, host.resolver())
    assert outcome.sealed == Sealed()
    assert [name for name, _ in outcome.actions.headers_add] == ["Authentication-Results"]


def test_a_chain_of_ours(host: Host) -> None:
    message = PLAIN
    for number in range(1, 5):
        message, outcome = host.pass_on(message)
        # ARC-18, ARC-20: created AAR, AMS, AS, above all else
        assert [name for name, _ in outcome.actions.headers_add] == [
            "ARC-Seal",
            "ARC-Message-Signature",
            "ARC-Authentication-Results",
            "Authentication-Results",
        ]
        assert (outcome.sealed.instance, outcome.sealed.status) == (number, "none" if number == 1 else "pass")
        fact = host.validate(message)
        assert (fact.result, len(fact.sets), fact.oldest_pass) == (ArcResult.PASS, number, 0)
        assert host.peer(message) == "pass"
        assert f" sealed={number}:" in str(log_fields(outcome))
        assert as_object(outcome)["sealed"] == {"instance": number, "status": outcome.sealed.status}


def test_the_claims_are_our_results(host: Host) -> None:
    """ARC-22: one field, the same text, escaped the same way."""
    message, outcome = host.pass_on(PLAIN, mail_from='"x; dmarc=pass ("@evil.example', helo="evil(.example")
    added = dict(outcome.actions.headers_add)
    assert added["ARC-Authentication-Results"] == f"i=1; {added['Authentication-Results']}"
    (one,) = host.validate(message).sets
    assert one.claims == added["Authentication-Results"].replace("\n", "")
    assert one.claims.startswith("mx.home.example;\tiprev=")
    assert " dmarc=pass (" not in re.sub(r'"(?:[^"\\]|\\.)*"', "", one.claims)


def test_both_kinds_of_sealers_go_on_with_each_others_chains(host: Host) -> None:
    message = seal(PLAIN, "other.example", "s", OTHER)
    message, _ = host.pass_on(message)
    message = seal(message, "other.example", "s", OTHER)
    message, outcome = host.pass_on(message)
    assert (outcome.sealed.instance, host.validate(message).result, host.peer(message)) == (4, ArcResult.PASS, "pass")


def test_what_is_signed(host: Host) -> None:
    """ARC-23: every DKIM-Signature, and what a signature of ours would sign; no A-R, no ARC."""
    fields, body = split_message(b"Authentication-Results: x.example; none\r\nReceived: x\r\n" + PLAIN)
    for selector in ("a", "b"):
        fields = [sign(fields, body, "other.example", selector, OTHER), *fields]
    message, outcome = host.pass_on(seal(join_message(fields, body), "other.example", "s", OTHER))
    found = re.search(r"\bh=([^;]*);", dict(outcome.actions.headers_add)["ARC-Message-Signature"])
    assert found
    names = re.sub(r"\s", "", found[1]).split(":")
    assert (names.count("dkim-signature"), names.count("from"), names.count("subject")) == (2, 2, 2)
    assert not [name for name in names if name.startswith(("arc-", "authentication-", "received"))]
    # a signature that goes away, or a field that is added, is seen; results that go away are not
    fields, body = split_message(message)
    without = [field for field in fields if field.name != b"Authentication-Results"]
    assert host.validate(join_message(without, body)).result is ArcResult.PASS
    first = next(place for place, field in enumerate(fields) if field.name == b"DKIM-Signature")
    assert host.validate(join_message([*fields[:first], *fields[first + 1 :]], body)).result is ArcResult.FAIL
    for added in (b"From", b"Subject"):
        changed = join_message([HeaderField(added, b" y@z.example"), *fields], body)
        assert host.validate(changed).result is ArcResult.FAIL


def test_what_we_remove_is_not_signed(host: Host) -> None:
    forged = b"BIMI-Location: v=BIMI1\r\nAuthentication-Results: mx.home.example; dmarc=pass\r\n"
    _, outcome = host.pass_on(forged + PLAIN)
    assert len(outcome.actions.headers_remove) == 2
    assert host.validate(with_added(PLAIN, outcome)).result is ArcResult.PASS


BROKEN = seal(PLAIN, "other.example", "s", OTHER).replace(b"Hello", b"Jello")


def test_a_broken_chain_is_sealed_as_broken(host: Host) -> None:
    """ARC-21: its seal covers its own set alone."""
    message, outcome = host.pass_on(BROKEN)
    assert (outcome.sealed.instance, outcome.sealed.status) == (2, "fail")
    assert host.validate(message).reason == "set 2 says that the chain was broken before"
    assert host.peer(message) == "ended"
    # the new seal is sound whatever becomes of the older sets
    fields, _ = split_message(message)
    top = {field.name: field for field in reversed(fields[:3])}
    before = [relaxed_field(*top[name]) for name in (b"ARC-Authentication-Results", b"ARC-Message-Signature")]
    value = top[b"ARC-Seal"].value
    digits = base64.b64decode(re.sub(rb"\s", b"", value.partition(b" b=")[2]))
    key = load_pem_private_key((host.keys.folder / "fwd.example.s.pem").read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    assert PrivateKey("rsa", 2048, key).sign(seal_digest(before, top[b"ARC-Seal"])) == digits
    # ARC-19: once only
    again, outcome = host.pass_on(message)
    assert outcome.sealed == Sealed(unsealed="the chain was broken before")
    assert 'unsealed="the chain was broken before"' in str(log_fields(outcome))
    assert again.count(b"ARC-Seal:") == 2


@pytest.mark.parametrize(
    ("fields", "instance"),
    [
        (b"ARC-Seal: rubbish\r\n", 1),
        (b"ARC-Seal: i=7; cv=pass\r\n", 8),
        (b"ARC-Seal: i=3; cv=none\r\nARC-Authentication-Results: i=49; x\r\n", 50),
        (b"ARC-Seal: i=2; cv=pass\r\n" * 2, 3),
    ],
)
def test_malformed_chains_get_the_next_number(host: Host, fields: bytes, instance: int) -> None:
    message, outcome = host.pass_on(fields + PLAIN)
    assert (outcome.sealed.instance, outcome.sealed.status) == (instance, "fail")
    assert host.validate(message).reason == f"set {instance} says that the chain was broken before"


def test_no_set_above_fifty(host: Host) -> None:
    """ARC-20."""
    message = PLAIN
    for _ in range(49):
        message = seal(message, "other.example", "s", OTHER)
    message, outcome = host.pass_on(message)
    assert (outcome.sealed.instance, host.validate(message).result) == (50, ArcResult.PASS)
    for full in (message, seal(message, "other.example", "s", OTHER), b"ARC-Seal: i=1; x\r\n" * 200 + PLAIN):
        _, outcome = host.pass_on(full)
        assert outcome.sealed == Sealed(unsealed="there are 50 sets already")


def test_a_chain_that_cannot_be_judged_now_is_left_to_the_next_host(host: Host) -> None:
    sealed = seal(PLAIN, "other.example", "s", OTHER)
    _, outcome = host.pass_on(sealed, "s._domainkey.other.example TXT timeout")
    assert outcome.sealed.fields == ()
    assert "looking up the key" in outcome.sealed.unsealed


@pytest.mark.parametrize(
    "how",
    [
        {"auth_user": "u"},
        {"local": True},
        {"ip": "127.0.0.1", "tables_extra": {"trust": {"networks": ["127.0.0.0/8"]}}},
        {"tables_extra": {"dmarc": {"on_bad_from": "reject"}}, "message": PLAIN.replace(b"From", b"X-From")},
    ],
)
def test_mail_that_is_not_sealed(host: Host, how: dict[str, Any]) -> None:
    """Our own mail is signed, not sealed (RFC 8617 §5); what is refused goes nowhere."""
    message = how.pop("message", PLAIN)
    tables = {**host.tables, **how.pop("tables_extra", {})}
    _, outcome = host.pass_on(message, tables=tables, **how)
    assert outcome.sealed == Sealed()
    assert not [name for name, _ in outcome.actions.headers_add if name.startswith("ARC")]


def test_held_mail_is_sealed_too(host: Host) -> None:
    tables = {**host.tables, "dmarc": {"on_bad_from": "quarantine"}}
    message, outcome = host.pass_on(PLAIN.replace(b"From", b"X-From"), tables=tables)
    assert outcome.verdict.decision == "quarantine"
    assert outcome.sealed.instance == 1
    assert host.validate(message).result is ArcResult.PASS


@pytest.mark.parametrize(
    ("patterns", "recipient", "covered"),
    [
        (["*"], "", True),
        (["user@c.example"], "user@c.example", True),
        (["user@c.example"], "<USER@C.example>", True),
        (["user@c.example"], '"user"@c.example', True),
        (["user@c.example"], "other@c.example", False),
        (["c.example"], "any@c.example", True),
        (["c.example"], "any@sub.c.example", False),
        (["*.c.example"], "any@sub.c.example", True),
        (["xn--bcher-kva.example"], "a@b\u00fccher.example", True),
        (["c.example"], "postmaster", False),
        (["c.example"], "", False),
        (["c.example", "d.example"], "a@d.example", True),
    ],
)
def test_recipients(host: Host, patterns: list[str], recipient: str, covered: bool) -> None:
    given = settings_of({**host.tables, "arc": {"seal": "fwd", "seal_for": patterns}})
    sent = ["nobody@nowhere.example", *([recipient] if recipient else [])]
    outcome = authenticate(given, Client("192.0.2.1"), "", PLAIN, host.resolver(), 1e9, sent)
    assert bool(outcome.sealed.fields) == covered
    assert outcome.sealed.unsealed == ""


def test_the_check_command(host: Host, tmp_path: Path) -> None:
    config, message = tmp_path / "authmilter.toml", tmp_path / "message.eml"
    config.write_text(
        f"""
        [dns]
        nameservers = ["127.0.0.1:1"]
        [arc]
        seal = "fwd"
        seal_for = ["c.example"]
        [sign.keys.fwd]
        domain = "fwd.example"
        selector = "s"
        file = "{host.keys.folder}/fwd.example.s.pem"
        """
    )
    message.write_bytes(PLAIN)
    command = ["check", "--config", str(config), "--client-ip", "192.0.2.1", "--helo", "x.example", "--mail-from", "<>"]
    for recipients, sealed in ((["a@c.example"], {"instance": 1, "status": "none"}), (["a@d.example"], None)):
        to = [word for recipient in recipients for word in ("--rcpt-to", recipient)]
        run = CliRunner().invoke(main, [*command, *to, "--json", str(message)])
        assert run.exit_code == 0, run.output
        found = json.loads(run.stdout)
        assert (found["sealed"], found["headers_add"][0][0] == "ARC-Seal") == (sealed, sealed is not None)
    message.write_bytes(b"ARC-Seal: i=1; cv=fail\r\n" + PLAIN)
    run = CliRunner().invoke(main, [*command, "--rcpt-to", "a@c.example", str(message)])
    assert "\nnot sealed: the chain was broken before\n" in run.stdout


@pytest.mark.parametrize(
    ("tables", "complaint"),
    [
        ({"arc": {"seal": "x"}}, "[arc] seal names 'x', but there is no [sign.keys.x] with a domain"),
        (
            {"arc": {"seal": "x"}, "sign": {"keys": {"x": {"selector": "s", "file": "/k"}}}},
            "[arc] seal names 'x', but there is no [sign.keys.x] with a domain",
        ),
        ({"arc": {"seal": "x", "enabled": False}}, "set [arc] enabled = true"),
        ({"arc": {"seal_for": ["a b"]}}, "is not of the form"),
        ({"arc": {"seal_for": []}}, "should not be empty"),
    ],
)
def test_settings_that_make_no_sense(tables: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(complaint)):
        settings_of(tables)


def test_a_key_that_cannot_be_used_loses_nothing(host: Host) -> None:
    sealer = Sealer(
        SealSettings("fwd.example", "s", "/gone.pem", {"*": ("x",)}), None, Signer(SignSettings(), Keyring())
    )
    fields, _ = split_message(PLAIN)
    bodies = Bodies()
    check = ArcCheck(Header(fields), bodies, ArcSettings(), DkimSettings(), 0.0)
    sealing = sealer.begin(check, bodies)
    assert not bodies.wants_body
    assert sealing.finish(fields, ArcFact(ArcResult.NONE), "x", 0.0) == Sealed(unsealed="/gone.pem cannot be used")


def test_an_ed25519_key(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    tables = {**keys.tables({"ed": ("fwd.example", "e", "ed25519")}, {}), "arc": {"seal": "ed"}}
    resolver = ZoneResolver("".join(f'{name} 300 IN TXT "{text}"\n' for name, text in keys.records.items()))
    message = with_added(PLAIN, run_message(PLAIN, resolver, tables=tables))
    fact = run_message(message, resolver).facts.arc
    assert fact is not None
    assert fact.result is ArcResult.PASS


HEADS = st.lists(
    st.tuples(
        st.sampled_from(["Subject", "To", "X-Odd", "List-Id", "Content-Type", "References"]),
        st.lists(st.sampled_from(["x", " ", "\t", "\r\n ", "\xe9", ";", "b=x", "=?utf-8?q?x?="]), max_size=6),
    ),
    max_size=6,
)
BODIES = st.lists(st.text("ab \t\xa0\xff.", max_size=10), max_size=8)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HEADS, BODIES)
def test_whatever_is_sealed_passes(host: Host, head: list[tuple[str, list[str]]], body: list[str]) -> None:
    text = "".join(f"{name}: {''.join(parts)}x\r\n" for name, parts in head)
    text = f"From: a@one.example\r\n{text}\r\n" + "".join(f"{line}\r\n" for line in body)
    message, _ = host.pass_on(text.encode("latin-1"))
    message, outcome = host.pass_on(message)
    assert (outcome.sealed.instance, host.validate(message).result, host.peer(message)) == (2, ArcResult.PASS, "pass")
