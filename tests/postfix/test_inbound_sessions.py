"""The ways in which mail comes in: several messages on a connection, BDAT, SMTPUTF8, submission, sendmail(1)."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.support.gate import Gate, gate_settings
from tests.support.milter_daemon import MilterDaemon
from tests.support.passage import RESULTS, Inbound, Passage, pass_through, settle
from tests.support.postfix import MILTER_SPEC, PrivatePostfix
from tests.support.senders import BANK, BOOKS, MALLORY, NEWS, OPTIONS, SHOP, ZONE, mail
from tests.support.smtp_client import SmtpSession
from tests.support.unbound import PrivateUnbound

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

LIMIT = 60_000  # message_size_limit of the listener "sized", octets
FORGED = f"{RESULTS}: mx.home.example; dmarc=pass header.from=bank.example\n"
KEPT = "mx.elsewhere.example; spf=pass smtp.mailfrom=bank.example"
AMBIGUOUS = f"{FORGED}{RESULTS}: {KEPT}\n{FORGED}"


@pytest.fixture(scope="module")
def dns(unbound_factory: Callable[..., PrivateUnbound]) -> PrivateUnbound:
    return unbound_factory(ZONE, options=OPTIONS)


@pytest.fixture(scope="module")
def gate(
    postfix_factory: Callable[..., PrivatePostfix],
    milter_process: Callable[..., MilterDaemon],
    dns: PrivateUnbound,
) -> Inbound:
    postfix = postfix_factory(
        milter=MILTER_SPEC,
        settings={
            "smtpd_data_restrictions": "check_sender_access inline:{ { no.data@mallory.example = REJECT } }",
        },
        listeners={"bytes": {"smtputf8_enable": "no"}, "sized": {"message_size_limit": str(LIMIT)}},
    )
    settings = gate_settings(dns.address, {"workers": 1})
    return Inbound(postfix, milter_process(settings, socket=f"unix:{postfix.milter_socket}"))


def send_on(gate: Inbound, session: SmtpSession, message: bytes, mail_from: str) -> Passage:
    """One more message on an existing connection."""
    rcpt, mark = gate.postfix.new_rcpt(), gate.milter.log.mark()
    return settle(gate, session.send(mail_from, [rcpt], message, raw=True), rcpt, mark)


def mixture() -> list[tuple[bytes, str, str]]:
    """Messages from MALLORY's host with envelope sender and fate, as different as can be."""
    return [
        (MALLORY.sign(mail(MALLORY.address)), MALLORY.address, "delivered"),
        (mail(BANK.address), BANK.address, "refused"),
        (mail(MALLORY.address), MALLORY.address, "delivered"),
        (MALLORY.sign(mail(SHOP.address)), SHOP.address, "held"),
        (mail(MALLORY.address, extra=AMBIGUOUS + "BIMI-Location: x\n"), "", "delivered"),
        (BANK.sign(mail(BANK.address)), MALLORY.address, "delivered"),
        (mail("no address at all"), MALLORY.address, "refused"),
        (mail(NEWS.address, body="\n" * 5000), "other@mallory.example", "delivered"),
        (b"\r\nno header at all\r\n", MALLORY.address, "refused"),
        (MALLORY.sign(mail(f"{MALLORY.address}, {NEWS.address}")), NEWS.address, "delivered"),
        (mail(MALLORY.address, body=""), MALLORY.address, "delivered"),
    ]


def test_nothing_of_a_message_is_left_for_the_next_on_the_connection(gate: Inbound) -> None:
    alone = [pass_through(gate, message, mail_from=sender, **MALLORY.client()) for message, sender, _ in mixture()]
    with gate.postfix.session(**MALLORY.client()) as session:
        together = [send_on(gate, session, message, sender) for message, sender, _ in mixture()]
    assert [passage.fate for passage in together] == [fate for _, _, fate in mixture()]
    for one, other in zip(alone, together, strict=True):
        assert one.fate == other.fate
        assert one.all(RESULTS) == other.all(RESULTS)
        if one.fate == "refused":
            assert one.reply == other.reply


def test_reset_in_the_middle(gate: Inbound) -> None:
    good = MALLORY.sign(mail(MALLORY.address))
    with gate.postfix.session(**MALLORY.client()) as session:
        assert session.command(f"MAIL FROM:<{BANK.address}>").code == 250
        assert session.command("RSET").code == 250
        after_mail = send_on(gate, session, good, MALLORY.address)
        assert session.command(f"MAIL FROM:<{BANK.address}> SMTPUTF8").code == 250
        assert session.command("RCPT TO:<r@home.example>").code == 250
        assert session.command("RSET").code == 250
        after_rcpt = send_on(gate, session, good, MALLORY.address)
        refused = session.send("no.data@mallory.example", ["r@home.example"], mail(BANK.address))
        assert (refused.steps[-1][0], refused.final.code) == ("DATA", 554)
        after_data = send_on(gate, session, good, MALLORY.address)
        assert session.command("EHLO other.mallory.example").code == 250
        after_ehlo = send_on(gate, session, good, MALLORY.address)
    for passage in (after_mail, after_rcpt, after_data):
        assert passage.entries == after_mail.entries
        assert passage.properties("dmarc")["header.from"] == "mallory.example"
        passed = {"iprev": ["pass"], "spf": ["pass", "pass"], "dkim": ["pass"], "dmarc": ["pass"]}
        assert passage.results == {**passed, "arc": ["none"]}
    assert next(p for m, _, p in after_ehlo.entries if m == "spf") == {"smtp.helo": "other.mallory.example"}


def test_client_that_leaves_in_the_middle(gate: Inbound) -> None:
    mark = gate.milter.log.mark()
    for lines in (
        b"",
        f"MAIL FROM:<{BANK.address}>\r\n".encode(),
        b"MAIL FROM:<>\r\nRCPT TO:<r@home.example>\r\nDATA\r\n",
    ):
        with gate.postfix.session(**MALLORY.client()) as session:
            session.write(lines + (b"From: a@bank.example\r\nTo: b@home.ex" if b"DATA" in lines else b""))
            session.close()
    gate.postfix.log.wait("lost connection after DATA")
    passage = pass_through(gate, MALLORY.sign(mail(MALLORY.address)), mail_from=MALLORY.address, **MALLORY.client())
    assert passage.results["dmarc"] == ["pass"]
    assert gate.milter.log.text(mark).count("decision=") == 1
    assert "fault" not in gate.milter.log.text(mark)


@pytest.mark.parametrize("chunk", [1, 61, 100_000])
def test_bdat(gate: Inbound, chunk: int) -> None:
    message = BANK.sign(mail(BANK.address), canonicalization="simple/simple")
    passage = pass_through(gate, message, mail_from="", bdat=chunk, **BANK.client())
    assert (passage.fate, passage.results["dkim"], passage.results["dmarc"]) == ("delivered", ["pass"], ["pass"])
    spoof = pass_through(gate, mail(BANK.address), mail_from=MALLORY.address, bdat=chunk, **MALLORY.client())
    assert (spoof.fate, spoof.reply.enhanced) == ("refused", "5.7.26")


def test_smtputf8(gate: Inbound) -> None:
    message = BOOKS.sign(mail("Jürgen <jürgen@bücher.example>", subject="Grüße"))
    passage = pass_through(gate, message, mail_from="jürgen@bücher.example", mail_params=["SMTPUTF8"], **BOOKS.client())
    assert passage.fate == "delivered"
    # authres reads no SMTPUTF8
    assert re.findall(r"(?<!\.)(?:spf|dkim|dmarc)=\w+|(?:smtp|header)\.[a-z]*m=\S+", as_text(passage)) == [
        "spf=pass",
        "spf=pass",
        "smtp.mailfrom=jürgen@xn--bcher-kva.example;",
        "dkim=pass",
        "dmarc=pass",
        "header.from=xn--bcher-kva.example",
    ]
    spoof = pass_through(gate, message, mail_from="jürgen@bücher.example", mail_params=["SMTPUTF8"], **MALLORY.client())
    assert re.findall(r"(?<!\.)(?:spf|dkim|dmarc)=\w+", as_text(spoof)) == [
        "spf=pass",
        "spf=fail",
        "dkim=pass",
        "dmarc=pass",
    ]
    unsigned = mail("Jürgen <jürgen@bücher.example>")
    refused = pass_through(
        gate, unsigned, mail_from="jürgen@bücher.example", mail_params=["SMTPUTF8"], **MALLORY.client()
    )
    assert (refused.fate, refused.reply.enhanced) == ("refused", "5.7.26")
    assert "xn--bcher-kva.example" in refused.reply.text


def as_text(passage: Passage) -> str:
    return passage.top.encode("latin-1").decode()


def test_domain_in_letters_of_its_script_without_smtputf8(gate: Inbound) -> None:
    passage = pass_through(gate, mail("j@bücher.example"), mail_from=MALLORY.address, **MALLORY.client())
    assert (passage.fate, passage.reply.enhanced) == ("refused", "5.7.26")
    assert "xn--bcher-kva.example" in passage.reply.text
    genuine = pass_through(gate, mail("j@BÜCHER.example"), mail_from=BOOKS.address, **BOOKS.client())
    assert genuine.judged_as == [("pass", "xn--bcher-kva.example")]
    # RFC 8601 §5: what is not a SMTPUTF8 message gets a field in ASCII
    assert genuine.top.isascii()


def test_eight_bit_header(gate: Inbound) -> None:
    message = (
        mail(BANK.address).replace(b"Greetings", b"Gr\xfc\xdfe \xff\xfe").replace(b"From: ", b'From: "J\xfcrgen" <')
    )
    message = BANK.sign(message.replace(b"@bank.example", b"@bank.example>"), canonicalization="simple/relaxed")
    for client in (BANK, MALLORY):
        passage = pass_through(
            gate, message, mail_from=client.address, mail_params=["BODY=8BITMIME"], **client.client()
        )
        assert (passage.results["dkim"], passage.judged_as) == (["pass"], [("pass", "bank.example")])
        assert passage.top.isascii()


@pytest.mark.parametrize(
    "helo", [b"m\xe4il.\xff.example", "bücher.example".encode(), b"a b", b"[192.0.2.10]", b"\x01\x7f"]
)
def test_odd_helo(gate: Inbound, helo: bytes) -> None:
    with gate.postfix.session(client_ip=BANK.ip, client_name=BANK.host, listener="bytes") as session:
        assert session.command(b"EHLO " + helo).code == 250
        for sender in (BANK.address, "", BANK.address):
            passage = send_on(gate, session, BANK.sign(mail(BANK.address)), sender)
            assert (passage.fate, passage.judged_as) == ("delivered", [("pass", "bank.example")])
            assert passage.top.isascii()
        stolen = send_on(gate, session, mail(SHOP.address), "")
        assert stolen.fate == "held"


@pytest.mark.parametrize("local", [b'"a b"', b"a=b%c", b"\xf0\x9f\x92\xa3"])
def test_odd_envelope_sender(gate: Inbound, local: bytes) -> None:
    rcpt, mark = gate.postfix.new_rcpt(), gate.milter.log.mark()
    with gate.postfix.session(**BANK.client(), listener="bytes") as session:
        assert session.command(b"MAIL FROM:<" + local + b"@bank.example>").code == 250
        assert session.command(f"RCPT TO:<{rcpt}>").code == 250
        session.command("DATA")
        reply = session.command(mail(BANK.address) + b".")
    assert reply.code == 250
    (delivered,) = gate.postfix.wait_delivered(rcpt)
    (result,) = delivered.all(RESULTS)
    assert "dmarc=pass" in result
    assert result.isascii()
    assert "decision=accept" in gate.milter.log.text(mark)


def test_authenticated_submission_is_not_judged(gate: Inbound) -> None:
    rcpt, mark = gate.postfix.new_rcpt(), gate.milter.log.mark()
    exchange = gate.postfix.submit(
        mail(BANK.address, extra=AMBIGUOUS), mail_from=BANK.address, rcpts=[rcpt], client_ip=MALLORY.ip
    )
    passage = settle(gate, exchange, rcpt, mark)
    assert (passage.fate, passage.all(RESULTS)) == ("delivered", [f" {KEPT}"])
    assert passage.fields[0][0] == "Received"
    assert "rule=own" in passage.line


def test_auth_parameter_of_mail_is_no_authentication(gate: Inbound) -> None:
    """PFX-4: AUTH= is what the client says of itself."""
    with gate.postfix.session(**MALLORY.client(), listener="submission") as session:
        session.auth_plain("alice", "wrong")
        exchange = session.send(BANK.address, ["r@home.example"], mail(BANK.address), mail_params=["AUTH=alice"])
    assert exchange.final.code == 554


def test_login_is_told_on_request(gate_factory: Callable[..., Gate], dns: PrivateUnbound) -> None:
    gate = gate_factory(settings={"workers": 1, "results": {"auth": True}}, dns=dns, users={"Alice B": "secret"})
    rcpt, mark = gate.postfix.new_rcpt(), gate.milter.log.mark()
    message = mail(BANK.address, extra=AMBIGUOUS)
    exchange = gate.postfix.submit(message, mail_from="a@home.example", rcpts=[rcpt], user="Alice B")
    passage = settle(gate, exchange, rcpt, mark)
    assert passage.entries == [("auth", "pass", {"smtp.auth": "Alice B"})]
    assert passage.all(RESULTS)[1:] == [f" {KEPT}"]
    stranger = pass_through(gate, mail(MALLORY.address), mail_from=MALLORY.address, **MALLORY.client())
    assert "auth" not in stranger.results


def test_local_mail_is_not_judged(gate: Inbound) -> None:
    rcpt, mark = gate.postfix.new_rcpt(), gate.milter.log.mark()
    message = mail(BANK.address, extra=AMBIGUOUS + "BIMI-Indicator: x\n").replace(b"\r\n", b"\n")
    gate.postfix.sendmail(message, mail_from=BANK.address, rcpts=[rcpt])
    (delivered,) = gate.postfix.wait_delivered(rcpt)
    assert delivered.all(RESULTS) == [f" {KEPT}"]
    assert delivered.all("BIMI-Indicator") == []
    assert "rule=own client=127.0.0.1" in gate.milter.log.text(mark)


def test_stranger_from_loopback_is_judged_where_loopback_is_not_trusted(
    gate_factory: Callable[..., Gate], dns: PrivateUnbound
) -> None:
    """PFX-9: mail made on this host is told from an SMTP client at 127.0.0.1, such as a tunnel, by its port."""
    gate = gate_factory(settings={"workers": 1, "trust": {"networks": []}}, dns=dns)
    spoof = pass_through(gate, mail(BANK.address), mail_from=BANK.address, client_ip="", helo="x.example")
    assert spoof.fate == "refused"
    rcpt = gate.postfix.new_rcpt()
    gate.postfix.sendmail(mail(BANK.address).replace(b"\r\n", b"\n"), mail_from=BANK.address, rcpts=[rcpt])
    assert gate.postfix.wait_delivered(rcpt)[0].all(RESULTS) == []


def exactly(size: int) -> bytes:
    """A signed message of exactly `size` octets."""
    small = len(BANK.sign(mail(BANK.address, body="\n")))
    lines, rest = divmod(size - small, 80)
    message = BANK.sign(mail(BANK.address, body="x" * rest + "\n" + ("x" * 78 + "\n") * lines))
    assert len(message) == size
    return message


def test_message_of_exactly_the_size_limit(gate: Inbound) -> None:
    with gate.postfix.session(**BANK.client(), listener="sized") as session:
        largest = send_on(gate, session, exactly(LIMIT), BANK.address)
        larger = send_on(gate, session, exactly(LIMIT + 1), BANK.address)
        after = send_on(gate, session, exactly(LIMIT - 1), BANK.address)
    assert (largest.fate, after.fate) == ("delivered", "delivered")
    assert largest.results["dkim"] == after.results["dkim"] == ["pass"]
    assert (larger.fate, larger.reply.code, larger.reply.enhanced) == ("refused", 552, "5.3.4")
    assert larger.line == ""  # the milter was told to forget it


def test_no_room_for_our_field_is_a_refusal(
    postfix_factory: Callable[..., PrivatePostfix], gate: Inbound, dns: PrivateUnbound
) -> None:
    """cleanup(8) bounds the whole queue file: what is short of the limit by less than our field does not fit."""
    postfix = postfix_factory(
        milter=f"unix:{gate.postfix.milter_socket}",
        settings={"message_size_limit": str(LIMIT)},
        listeners={"bare": {"smtpd_milters": ""}},
    )
    small = Inbound(postfix, gate.milter)
    fates = {}
    for size in (LIMIT - 1100, LIMIT - 3000):
        for listener in ("bare", "smtp"):
            passage = pass_through(small, exactly(size), mail_from="", listener=listener, **BANK.client())
            fates[size, listener] = passage.fate
            assert passage.fate == "delivered" or (passage.reply.code, passage.reply.enhanced) == (552, "5.3.4")
    assert fates == {
        (LIMIT - 1100, "bare"): "delivered",
        (LIMIT - 1100, "smtp"): "refused",
        (LIMIT - 3000, "bare"): "delivered",
        (LIMIT - 3000, "smtp"): "delivered",
    }
