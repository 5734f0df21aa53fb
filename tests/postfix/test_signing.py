"""Our own mail through real Postfix: signed by us, sent on over SMTP, and verified where it arrives.

The first Postfix has the milter; the second one stands at the next hop and keeps what it was sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dkim
import pytest

from authmilter.dkim.check import DkimCheck
from authmilter.dkim.settings import DkimSettings
from tests.support.dkim_signer import split_message
from tests.support.dkim_zone import TxtTable
from tests.support.gate import gate_settings
from tests.support.mailbox import Delivered
from tests.support.milter_daemon import MilterDaemon
from tests.support.passage import RESULTS
from tests.support.postfix import MILTER_SPEC, PrivatePostfix
from tests.support.postfix_config import HOSTNAME
from tests.support.postfix_installation import HOST, Installation
from tests.support.signing import Keys
from tests.support.smtp_client import crlf
from tests.support.unbound import PrivateUnbound

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

NETWORK = "198.51.100.77"  # of [trust] networks and of mynetworks
STRANGER = "203.0.113.66"
LATER_HOPS = "next.example"
ZONE = """\
_dmarc.home.example. IN TXT "v=DMARC1; p=reject"
home.example. IN TXT "v=spf1 -all"
"""
OURS = "From: Alice <alice@home.example>\nTo: r@next.example\nSubject: Hello\n"
DATED = OURS + "Date: Tue, 24 Nov 2026 10:00:00 +0000\nMessage-ID: <1@home.example>\n"


class TwoHops:
    """A first Postfix that signs and a second one behind it."""

    def __init__(self, first: PrivatePostfix, second: PrivatePostfix, milter: MilterDaemon, keys: Keys) -> None:
        self.first, self.second, self.milter, self.keys = first, second, milter, keys
        self._count = 0

    def rcpt(self) -> str:
        """A new recipient at the second hop."""
        self._count += 1
        return f"r{self._count}-{id(self)}@{LATER_HOPS}"

    def submit(self, message: bytes, *, mail_from: str = "alice@home.example", **options: Any) -> Delivered:
        """A message of an authenticated user, as it arrives."""
        rcpt = self.rcpt()
        with self.first.session(client_ip=STRANGER, listener="submission") as session:
            assert session.auth_plain("alice", "secret").code == 235
            exchange = session.send(mail_from, [rcpt], message, raw=True, **options)
        assert exchange.accepted, exchange
        return self.arrived(rcpt)

    def arrived(self, rcpt: str) -> Delivered:
        (found,) = self.second.wait_delivered(rcpt)
        return found

    def results(self, delivered: Delivered) -> list[str]:
        """What our verifier says of each signature, and dkimpy of those that it takes."""
        message = delivered.message.replace(b"\n", b"\r\n")
        fields, body = split_message(message)
        check = DkimCheck(fields, DkimSettings(), time.time())
        check.body(body)
        records: Any = TxtTable(dict(self.keys.records))
        ours = [str(fact.result) for fact in check.finish(records)]
        if ours != ["none"]:
            theirs = [self._verified_by_dkimpy(message, place) for place in range(len(ours))]
            assert theirs == [result == "pass" for result in ours], delivered.message
        return ours

    def _verified_by_dkimpy(self, message: bytes, place: int) -> bool:
        def record(name: bytes, timeout: int = 5) -> bytes:
            return self.keys.records[name.decode().removesuffix(".")].encode()

        try:
            return bool(dkim.DKIM(message).verify(idx=place, dnsfunc=record))
        except dkim.ValidationError:  # the body hash differs
            return False


@pytest.fixture(scope="module")
def dns(unbound_factory: Callable[..., PrivateUnbound]) -> PrivateUnbound:
    return unbound_factory(ZONE)


MakeHops = Callable[..., TwoHops]


@pytest.fixture(scope="module")
def make_hops(
    postfix_factory: Callable[..., PrivatePostfix],
    milter_process: Callable[..., MilterDaemon],
    dns: PrivateUnbound,
    tmp_path_factory: pytest.TempPathFactory,
) -> MakeHops:
    def make(
        first: dict[str, str] | None = None,
        second: dict[str, str] | None = None,
        sign: dict[str, Any] | None = None,
        **options: Any,
    ) -> TwoHops:
        behind = postfix_factory(domains=(LATER_HOPS,), settings=second or {})
        before = postfix_factory(
            milter=MILTER_SPEC,
            trusted=[f"{NETWORK}/32"],
            services=["smtp unix - - n - - smtp"],
            settings={
                "default_transport": f"smtp:[127.0.0.1]:{behind.ports['smtp']}",
                "smtp_tls_security_level": "none",
                **(first or {}),
            },
            **options,
        )
        folder: Path = tmp_path_factory.mktemp("keys")
        keys = Keys(folder)
        identities = {"rsa": ("home.example", "s1", "rsa"), "ed": ("home.example", "e1", "ed25519")}
        tables = keys.tables(identities, {"home.example": ["rsa", "ed"]}, **(sign or {}))
        settings = gate_settings(dns.address, {"workers": 1, "trust": {"networks": [f"{NETWORK}/32"]}, **tables})
        return TwoHops(before, behind, milter_process(settings, socket=f"unix:{before.milter_socket}"), keys)

    return make


@pytest.fixture(
    scope="module", params=["relaxed/relaxed, this host", "simple/simple, this host", "relaxed/simple, debian 13"]
)
def hops(request: pytest.FixtureRequest, make_hops: MakeHops) -> TwoHops:
    canonicalization, _, where = request.param.partition(", ")
    installation: Installation = HOST if where == "this host" else request.getfixturevalue("debian_13")
    return make_hops(sign={"canonicalization": canonicalization}, installation=installation)


# Whose mail is signed


def test_submission(hops: TwoHops) -> None:
    mark = hops.milter.log.mark()
    delivered = hops.submit(crlf((DATED + "\nHello\n").encode()))
    assert hops.results(delivered) == ["pass", "pass"]
    assert hops.milter.log.wait(r"decision=accept rule=own .*signed=home\.example:s1,home\.example:e1", after=mark)
    names = [name for name, _ in delivered.fields]
    # a trace field: above the Received of the host that signed, below that of the next one
    assert names[:4] == ["Received", "DKIM-Signature", "DKIM-Signature", "Received"]


def test_trusted_network(hops: TwoHops) -> None:
    rcpt = hops.rcpt()
    exchange = hops.first.send(
        crlf((DATED + "\nHello\n").encode()), mail_from="x@else.example", rcpts=[rcpt], client_ip=NETWORK
    )
    assert exchange.accepted
    assert hops.results(hops.arrived(rcpt)) == ["pass", "pass"]


def test_sendmail(hops: TwoHops) -> None:
    rcpt = hops.rcpt()
    hops.first.sendmail((DATED + "\nHello\n").encode(), mail_from="alice@home.example", rcpts=[rcpt])
    assert hops.results(hops.arrived(rcpt)) == ["pass", "pass"]


def test_fields_that_postfix_adds_are_there_when_the_message_is_signed(hops: TwoHops) -> None:
    """cleanup(8) adds From, Date and Message-ID before it shows the message to the milter."""
    rcpt = hops.rcpt()
    hops.first.sendmail(b"Subject: nothing else\n\nHello\n", mail_from="alice@home.example", rcpts=[rcpt])
    delivered = hops.arrived(rcpt)
    assert hops.results(delivered) == ["pass", "pass"]
    assert [len(delivered.all(name)) for name in ("From", "Date", "Message-ID")] == [1, 1, 1]
    submitted = hops.submit(crlf((OURS + "\nHello\n").encode()))
    assert hops.results(submitted) == ["pass", "pass"]
    assert len(submitted.all("Message-ID")) == 1


@pytest.mark.parametrize("mail_from", ["alice@home.example", "x@mallory.example", ""])
def test_a_stranger_is_never_signed(hops: TwoHops, mail_from: str) -> None:
    message = crlf((DATED.replace("next.example", "home.example") + "\nHello\n").encode())
    mark = hops.milter.log.mark()
    exchange = hops.first.send(message, mail_from=mail_from, rcpts=[hops.first.new_rcpt()], client_ip=STRANGER)
    assert (exchange.accepted, exchange.final.enhanced) == (False, "5.7.26")
    assert "signed=" not in hops.milter.log.text(mark)


def test_a_stranger_whose_mail_is_taken_is_not_signed(hops: TwoHops) -> None:
    message = crlf((DATED.replace("alice@home", "a@else") + "\nHello\n").encode())
    rcpt = hops.first.new_rcpt()
    assert hops.first.send(message, mail_from="", rcpts=[rcpt], client_ip=STRANGER).accepted
    (delivered,) = hops.first.wait_delivered(rcpt)
    assert (delivered.all("DKIM-Signature"), len(delivered.all(RESULTS))) == ([], 1)


def test_what_came_from_outside_and_failed_is_not_signed_on_its_way_on(hops: TwoHops) -> None:
    """As Sieve's redirect does it: the message as it was delivered, through sendmail(1)."""
    result = "dmarc=fail (p=none) header.from=home.example policy.dmarc=none"
    rcpt = hops.rcpt()
    mark = hops.milter.log.mark()
    message = f"Authentication-Results: {HOSTNAME};\n\t{result}\n{DATED}\nPay now\n"
    hops.first.sendmail(message.encode(), mail_from="x@evil.example", rcpts=[rcpt])
    delivered = hops.arrived(rcpt)
    assert (hops.results(delivered), delivered.all(RESULTS)) == (["none"], [])
    hops.milter.log.wait("unsigned=.not signed for home.example: this message came from outside", after=mark)


def test_another_domain_of_our_own_users_is_not_signed(hops: TwoHops) -> None:
    delivered = hops.submit(crlf((DATED.replace("alice@home", "a@else") + "\nHello\n").encode()))
    assert hops.results(delivered) == ["none"]


@pytest.mark.parametrize(("classes", "results"), [("bounce", ["pass", "pass"]), ("", ["none"])])
def test_bounces_are_signed_if_postfix_shows_them(make_hops: MakeHops, classes: str, results: list[str]) -> None:
    """postconf(5), internal_mail_filter_classes: nothing by default."""
    hops = make_hops({"internal_mail_filter_classes": classes})
    sender = hops.rcpt()
    message = crlf((DATED + "\nHello\n").encode())
    # the second hop does not relay to this domain
    exchange = hops.first.send(message, mail_from=sender, rcpts=["nobody@elsewhere.example"], client_ip=NETWORK)
    assert exchange.accepted
    bounce = hops.arrived(sender)
    assert (bounce.return_path, "MAILER-DAEMON@home.example" in bounce.all("From")[0]) == ("", True)
    assert hops.results(bounce) == results


# What a hop does to a message

BODIES = {
    "dots": b".\r\n..\r\n.a\r\n...\r\n",
    "8-bit": b"Gr\xc3\xbc\xc3\x9fe \xff\xfe\r\n",
    "blanks": b"a \t b  \r\n \t \r\n\r\n  c\t\r\n\r\n\r\n",
    "only empty lines": b"\r\n\r\n\r\n",
    "empty": b"",
    "a line of 990 octets": b"x" * 990 + b"\r\n",
    "many chunks": b"0123456789 " * 50 + b"\r\n" + b"line  of text \r\n" * 20_000,
}


@pytest.mark.parametrize("body", BODIES)
def test_bodies(hops: TwoHops, body: str) -> None:
    message = crlf(DATED.encode()) + b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + BODIES[body]
    assert hops.results(hops.submit(message, mail_params=["BODY=8BITMIME"])) == ["pass", "pass"]


@pytest.mark.parametrize("chunk", [1, 61, 100_000])
def test_bdat(hops: TwoHops, chunk: int) -> None:
    message = crlf(DATED.encode()) + b"\r\n" + BODIES["dots"] + b"no line end"
    assert hops.results(hops.submit(message, bdat=chunk)) == ["pass", "pass"]


@pytest.mark.parametrize(
    "extra",
    [
        b"Subject2: x\r\nReferences: <1@a>\r\n\t<2@a>\r\n   <3@a>\r\nreferences:<4@a>\r\n",
        b"Cc:\r\nIn-Reply-To: \r\nReferences: <1@a>\r\n",
        b"Reply-To:   \t two  blanks <a@home.example>\t\r\n",
        b'Comments: Gr\xfc\xdfe\r\nReply-To: "J\xfc" <a@home.example>\r\n',
        b"References: " + b" <123456789@home.example>\r\n" * 60,
        b"Bcc: hidden@home.example\r\n",
        b"Return-Path: <x@y.example>\r\n",
    ],
)
def test_headers(hops: TwoHops, extra: bytes) -> None:
    delivered = hops.submit(extra + crlf(DATED.encode()) + b"\r\nHello\r\n", mail_params=["BODY=8BITMIME"])
    assert hops.results(delivered) == ["pass", "pass"]


def test_smtputf8(hops: TwoHops) -> None:
    message = crlf(DATED.replace("Alice", "Jürgen").replace("Hello", "Grüße").encode()) + b"\r\nHello\r\n"
    assert hops.results(hops.submit(message, mail_params=["SMTPUTF8"])) == ["pass", "pass"]


def test_stray_carriage_returns(hops: TwoHops) -> None:
    message = crlf(DATED.encode()) + b"\r\na\rb\r\n\rc\r\n"
    assert hops.results(hops.submit(message)) == ["pass", "pass"]


def test_next_hop_adds_what_is_missing(make_hops: MakeHops) -> None:
    """Postfix adds Date and Message-ID to mail of its own clients: where there are none they are not oversigned."""
    hops = make_hops(
        {"local_header_rewrite_clients": ""},
        {"always_add_missing_headers": "yes", "local_header_rewrite_clients": "static:all"},
    )
    delivered = hops.submit(crlf((OURS + "\nHello\n").encode()))
    assert [len(delivered.all(name)) for name in ("Date", "Message-ID")] == [1, 1]
    assert hops.results(delivered) == ["pass", "pass"]


def test_rewriting_by_cleanup_comes_before_the_signature(make_hops: MakeHops) -> None:
    hops = make_hops(
        {
            "sender_canonical_maps": "inline:{ login@inner.example=alice@home.example }",
            "masquerade_domains": "home.example",
            "local_header_rewrite_clients": "static:all",
            "header_checks": "regexp:{ {/^Subject:.*/ REPLACE Subject: replaced} {/^X-Gone:/ IGNORE} }",
        }
    )
    for author in ("login@inner.example", "alice@host.home.example"):
        message = f"X-Gone: x\n{DATED}".replace("alice@home.example", author) + "\nHello\n"
        delivered = hops.submit(crlf(message.encode()))
        assert "alice@home.example" in delivered.all("From")[0]
        assert (delivered.all("Subject"), delivered.all("X-Gone")) == ([" replaced"], [])
        assert hops.results(delivered) == ["pass", "pass"]


CHANGES = {
    # what smtp(8) does to a message after it was signed: settings of the first Postfix, of the second one, body
    "smtp_generic_maps": ({"smtp_generic_maps": "inline:{ alice@home.example=a@else.example }"}, {}, b"Hello\r\n"),
    "8-bit to a host without 8BITMIME": (
        {},
        {"smtpd_discard_ehlo_keywords": "8bitmime, smtputf8, chunking"},
        b"\xff\r\n",
    ),
    "lines over smtp_line_length_limit": ({}, {}, b"x" * 1500 + b"\r\n"),
    "smtp_header_checks": (
        {"smtp_header_checks": "regexp:{ {/^Subject:.*/ REPLACE Subject: replaced} }"},
        {},
        b"Hello\r\n",
    ),
}
CURES = {
    "8-bit to a host without 8BITMIME": {"disable_mime_output_conversion": "yes"},
    "lines over smtp_line_length_limit": {"smtp_line_length_limit": "0"},
}


def through(hops: TwoHops, body: bytes) -> list[str]:
    message = crlf(DATED.encode()) + b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    message += b"Content-Transfer-Encoding: 8bit\r\n\r\n" + body
    return hops.results(hops.submit(message, mail_params=["BODY=8BITMIME"]))


@pytest.mark.parametrize("change", CHANGES)
def test_changes_after_the_signature_break_it(make_hops: MakeHops, change: str) -> None:
    first, second, body = CHANGES[change]
    assert through(make_hops(first, second), body) == ["fail", "fail"]
    if change in CURES:
        assert through(make_hops({**first, **CURES[change]}, second), body) == ["pass", "pass"]
