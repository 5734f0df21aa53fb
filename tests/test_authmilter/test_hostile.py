"""Mail made to cost time, memory or a worker: each case is answered, and the next honest message is as if nothing was.

Everything goes through the running daemon, over its socket, with real DNS packets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.dkim_signer import dns_record, join_message, make_key, sign, split_message
from tests.support.inbound import AUTHSERV_ID
from tests.support.milter_client import MilterClient, Outcome
from tests.support.stranger import Strangers, results
from tests.support.worker_figures import forget_peak, memory

CPU_SECONDS = 2.0  # of all workers together, for one message
KEY = make_key("ed25519")
GOOD_FIELDS, GOOD_BODY = split_message(b"From: u@good.example\r\nTo: me@home.example\r\nSubject: x\r\n\r\nhello\r\n")
GOOD = join_message([sign(GOOD_FIELDS, GOOD_BODY, "good.example", "s", KEY), *GOOD_FIELDS], GOOD_BODY)
HEADER = b"From: u@good.example\nTo: me@home.example\n"

BIG = 62_000  # octets of a TXT record, near the most that a DNS message can carry
MEDIUM = 8_000  # where the size is not the point: reading the zone takes time too
ALL10 = range(10)


def txt(name: str, text: str) -> str:
    return f'{name}. 300 IN TXT "{text}"\n'


BOMBS = {
    "dots": "exists:%{l}." + "a." * (BIG // 2) + "example -all",
    "unclosed": "exists:" + "%{" * (MEDIUM // 2) + " -all",
    "macros": "exists:" + "%{l}" * (BIG // 4) + ".x.example -all",
    "terms": " ".join(f"exists:%{{ir}}.{n}.x.example" for n in range(BIG // 32)) + " -all",
    "addresses": " ".join(f"ip4:10.0.{n % 250}.1" for n in range(BIG // 14)) + " -all",
    "modifiers": " ".join(f"m{n}=%{{p}}" for n in range(MEDIUM // 12)) + " -all",
    "slashes": "a" + "/1" * (MEDIUM // 2) + " -all",
    "blanks": " " * MEDIUM + "-all",
    "loop": "include:loop.bomb.example -all",
    "loop2": "include:loop3.bomb.example -all",
    "loop3": "include:loop2.bomb.example -all",
    "redirect": "redirect=redirect.bomb.example",
    "redirect2": "redirect=redirect3.bomb.example",
    "redirect3": "redirect=redirect2.bomb.example",
    "ptr": "ptr " * 10 + "-all",
    "p-macro": " ".join(f"exists:%{{p}}.{n}.x.example" for n in ALL10) + " -all",
    "mx": " ".join(f"mx:m{n}.bomb.example" for n in ALL10) + " -all",
    "a": " ".join(f"a:a{n}.x.example" for n in range(100)) + " -all",
    "wide": " ".join(f"include:wide{n}.bomb.example" for n in ALL10) + " -all",
    "deep": "include:deep1.bomb.example -all",
    "heavy": " ".join(f"include:heavy{n}.bomb.example" for n in ALL10) + " -all",
    "exp": "-all exp=text.bomb.example",
}


def bomb_zone() -> str:
    zone = "".join(txt(f"{name}.bomb.example", f"v=spf1 {terms}") for name, terms in BOMBS.items())
    for number in ALL10:
        inner = " ".join(f"include:w{number}-{n}.bomb.example" for n in ALL10)
        zone += txt(f"wide{number}.bomb.example", f"v=spf1 {inner} -all")
        zone += f"heavy{number}.bomb.example. IN CNAME heavy-record.bomb.example.\n"
        zone += "".join(f"m{number}.bomb.example. IN MX {n} h{n}.m{number}.bomb.example.\n" for n in ALL10)
        zone += "".join(f"h{n}.m{number}.bomb.example. IN A 10.0.{number}.{n}\n" for n in ALL10)
        zone += f"9.2.0.192.in-addr.arpa. IN PTR p{number}.bomb.example.\n"
        zone += "".join(f"p{number}.bomb.example. IN A 10.1.{number}.{n}\n" for n in range(200))
    for depth in range(1, 30):
        zone += txt(f"deep{depth}.bomb.example", f"v=spf1 include:deep{depth + 1}.bomb.example -all")
    zone += txt("heavy-record.bomb.example", "v=spf1 " + "ip4:10.0.0.1 " * (BIG // 13) + "-all")
    zone += txt("text.bomb.example", "%{l}" * (MEDIUM // 4))
    zone += "".join(txt("300.bomb.example", f"v=spf1 ip4:10.0.{n}.1 -all") for n in range(300))
    zone += "".join(txt("_dmarc.300.bomb.example", f"v=DMARC1; p=reject; n={n}") for n in range(300))
    zone += "".join(txt("s._domainkey.300.bomb.example", f"v=DKIM1; k=ed25519; n={n}; p=AAAA") for n in range(300))
    return zone


def large_records_zone() -> str:
    """Domains bigN.example with a record of 60 KB at _dmarc, and a key of 60 KB."""
    records = [
        "v=DMARC1; p=reject; " + "x=y; " * (BIG // 5),
        "v=DMARC1; p=reject; rua=" + ",".join(["mailto:a@b.example"] * (BIG // 19)),
        "v=DMARC1; p=reject; rua=mailto:" + "a" * MEDIUM,
        "v=DMARC1" + ";" * MEDIUM,
        "v=DMARC1" + " " * MEDIUM + "; p=reject",
        "v=DMARC1; p=" + "reject" * (MEDIUM // 6),
        "v=DMARC1; p=reject; fo=" + "0:" * (MEDIUM // 2),
    ]
    keys = [
        "v=DKIM1; k=rsa; p=" + "A" * BIG,
        "v=DKIM1; k=ed25519; p=" + "A" * MEDIUM,
        "v=DKIM1; " + "x=y; " * (MEDIUM // 5) + "p=AAAA",
        "v=DKIM1; h=" + "sha256:" * (BIG // 7) + "; p=AAAA",
        "v=DKIM1" + " " * MEDIUM + "; p=AAAA",
        "p=" + "=" * MEDIUM,
        "k=rsa; t=" + "y:" * (MEDIUM // 2) + "; p=MIIB",
    ]
    zone = ""
    for number, (record, key) in enumerate(zip(records, keys, strict=True)):
        zone += txt(f"_dmarc.big{number}.example", record) + txt(f"s._domainkey.big{number}.example", key)
    return zone


ZONE = (
    txt("good.example", "v=spf1 ip4:192.0.2.1 -all")
    + txt("_dmarc.good.example", "v=DMARC1; p=reject")
    + txt("s._domainkey.good.example", dns_record(KEY))
    + bomb_zone()
    + large_records_zone()
)


@pytest.fixture(scope="module")
def gate() -> Iterator[Strangers]:
    with Strangers(ZONE) as running:
        yield running
        assert running.strange_log_lines() == []


@pytest.fixture
def milter(gate: Strangers) -> Iterator[MilterClient]:
    """A connection on which, after the test, an honest message gets its right answer, as on another connection."""
    workers = gate.daemon.workers()
    with gate.client() as connection:
        yield connection
        require_good(connection)
    with gate.client() as other:
        require_good(other)
    assert sorted(gate.daemon.workers()) == sorted(workers), gate.daemon.log.text()[-3000:]
    assert "internal fault" not in gate.daemon.log.text()


def require_good(connection: MilterClient) -> None:
    outcome = connection.send(GOOD, mail_from="u@good.example")
    assert outcome.reply.kind == "continue"
    found = results(outcome)
    assert (found["spf"], found["dkim"], found["dmarc"]) == ("pass", "pass", "pass")


def bounded(gate: Strangers, action: Callable[[], Outcome], cpu_seconds: float = CPU_SECONDS) -> Outcome:
    """The outcome of `action`; it may cost no more."""
    before = gate.cpu()
    outcome = action()
    used = gate.cpu() - before
    assert used < cpu_seconds, f"{used:.2f} s of processor time"
    return outcome


SIGNATURE = sign(GOOD_FIELDS, GOOD_BODY, "good.example", "s", KEY).value.replace(b"\r\n", b"\n")

HEADERS = {
    "10,000 signatures": (b"DKIM-Signature:" + SIGNATURE + b"\n") * 10_000 + HEADER,
    "10,000 signatures of many domains": b"".join(
        b"DKIM-Signature:" + SIGNATURE.replace(b"good.example", b"d%d.example" % n) + b"\n" for n in range(10_000)
    )
    + HEADER,
    "10,000 empty signatures": b"DKIM-Signature:\n" * 10_000 + HEADER,
    "a signature of 1 MB": b"DKIM-Signature: v=1; h=" + b"from:" * 200_000 + b"\n" + HEADER,
    "a signature of 1 MB of tags": b"DKIM-Signature: v=1; " + b"x=y; " * 200_000 + b"\n" + HEADER,
    "a signature of 1 MB of blanks": b"DKIM-Signature: v=1;" + b" " * 1_000_000 + b"b=\n" + HEADER,
    "a subject of 1 MB": b"Subject: " + b"x" * 1_000_000 + b"\n" + HEADER,
    "a subject of 1 MB of folds": b"Subject: x" + b"\n x" * 300_000 + b"\n" + HEADER,
    "a List-Id of 1 MB": b"List-Id: " + b"<" * 1_000_000 + b"\n" + HEADER,
    "200,000 small fields": b"".join(b"x%d: y\n" % (n % 1000) for n in range(200_000)) + HEADER,
    "150,000 From fields": b"From: u@good.example\n" * 150_000,
    "results of 1 MB of parentheses": b"Authentication-Results: " + b"(" * 1_000_000 + b"\n" + HEADER,
    "results of 1 MB of comments": b"Authentication-Results: " + b"()" * 500_000 + b" x\n" + HEADER,
    "results of 1 MB of quotes": b"Authentication-Results: " + b'"\\' * 500_000 + b"\n" + HEADER,
    "results of 1 MB of encoded words": b"Authentication-Results: " + b"=?utf-8?q?a?= " * 70_000 + b"\n" + HEADER,
    "no header at all": b"",
    "1,000 addresses": b"From: " + b", ".join(b"u@d%d.example" % n for n in range(1000)) + b"\n",
    "1,000 addresses of one domain": b"From: " + b", ".join(b"u%d@good.example" % n for n in range(1000)) + b"\n",
    "1 MB of From rubbish": b"From: " + b'<@,:;("\\[' * 111_000 + b"\n",
    "1 MB of at signs": b"From: " + b"a@b." * 250_000 + b"\n",
    "1 MB of encoded words": b"From: " + b"=?utf-8?q?a=40b?= " * 55_000 + b"<u@good.example>\n",
    "1 MB of comments": b"From: " + b"(" * 500_000 + b")" * 500_000 + b" u@good.example\n",
    "1 MB of octets": b"From: " + bytes(range(128, 256)) * 8000 + b"\n",
    "a group of 100,000": b"From: g:" + b"u@good.example," * 66_000 + b";\n",
    "100,000 labels": b"From: u@" + b"a." * 500_000 + b"example\n",
}


# SPF passes and is aligned: no rubbish around it makes a difference, and none in From passes
EXPECTED = {
    "10,000 signatures": "pass",
    "10,000 signatures of many domains": "pass",
    "a subject of 1 MB": "pass",
    "200,000 small fields": "552 5.3.4 ",
    "results of 1 MB of parentheses": "pass",
    "1,000 addresses of one domain": "pass",
    "150,000 From fields": "552 5.3.4 ",
    "no header at all": "550 5.7.1 ",
    "1,000 addresses": "550 5.7.1 ",
    "1 MB of From rubbish": "550 5.7.1 ",
    "1 MB of octets": "550 5.7.1 ",
    "1 MB of comments": "550 5.7.1 ",
    "100,000 labels": "550 5.7.1 ",
}


@pytest.mark.parametrize("case", HEADERS)
def test_headers(gate: Strangers, milter: MilterClient, case: str) -> None:
    message = HEADERS[case] + b"\nbody\n"
    # the way of a field through libmilter and pymilter costs some 10 µs by itself
    allowed = CPU_SECONDS + 25e-6 * message.count(b"\n")
    outcome = bounded(gate, lambda: milter.send(message, mail_from="u@good.example"), allowed)
    assert outcome.reply.kind in ("continue", "replycode")
    found = results(outcome)["dmarc"] if outcome.taken else outcome.smtp
    assert found.startswith(EXPECTED.get(case, ""))


def test_signatures_are_counted_and_said(milter: MilterClient) -> None:
    """DKIM-19."""
    outcome = milter.send(HEADERS["10,000 signatures"] + b"\nbody\n", mail_from="u@good.example")
    (value,) = outcome.all("Authentication-Results")
    assert value.count("dkim=") == 10
    assert "(9990 further signatures were not looked at)" in value.replace("\n\t", " ").replace("\n ", " ")


@pytest.mark.parametrize("login", ["", "somebody"])
def test_five_megabytes_of_header_are_refused(gate: Strangers, milter: MilterClient, login: str) -> None:
    message = b"X-Large: " + b"x" * 99_000 + b"\n"
    message = message * 51 + HEADER + b"\nbody\n"
    outcome = bounded(gate, lambda: milter.send(message, mail_from="u@good.example", login=login))
    # of our own users only the fields that pass for ours are looked at
    assert outcome.smtp.startswith("552 5.3.4 ") if not login else outcome.reply.kind == "continue"


@pytest.mark.parametrize("count", [1, 40, 10_000])
def test_forged_results_are_all_removed(gate: Strangers, milter: MilterClient, count: int) -> None:
    before = gate.cpu()
    milter.mail("u@good.example")
    milter.rcpt("me@home.example")
    for _ in range(count):
        milter.header(b"Authentication-Results", b" mx.home.example; dmarc=pass")
        milter.header(b"Authentication-Results", b" other.example; dmarc=pass")
    milter.header(b"From", b" u@good.example")
    milter.end_of_header()
    reply, edits, _ = milter.end({"i": "4Forged"})
    milter.abort()
    assert gate.cpu() - before < CPU_SECONDS
    if count > 1000:
        assert (reply.kind, reply.text[:10], edits) == ("replycode", b"552 5.3.4 ", ())
        return
    *removed, added = edits
    expected = [("change", index, b"") for index in range(2 * count - 1, 0, -2)]
    assert [(edit.kind, edit.index, edit.value) for edit in removed] == expected
    assert (added.kind, added.index) == ("insert", 0)


# Octets that do not belong there

ODD = [bytes((octet,)) for octet in (1, 8, 9, 11, 13, 27, 127, 128, 160, 200, 255)] + [
    b"\xc3\xa9",
    b"\xe2\x80\xa8",
    b"\xf0\x9f\x92\xa9",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"%s%n%%",
    b"\r\r",
    b'"(\\',
]


@pytest.mark.parametrize("odd", ODD, ids=[repr(odd)[2:-1] for odd in ODD])
def test_odd_octets_everywhere(gate: Strangers, odd: bytes) -> None:
    with gate.client(helo=b"mx" + odd + b".good.example") as milter:
        for sender in (b"u" + odd + b"@good.example", b"u@good" + odd + b".example", odd, b"u@" + odd):
            milter.mail(sender, "BODY=8BITMIME")
            milter.rcpt(b"me" + odd + b"@home.example")
            milter.data({"i": "4Odd"})
            for name, value in (
                (b"From", b" u" + odd + b"@good.example"),
                (b"From" + odd, b" u@good.example"),
                (odd + b"Subject", odd),
                (b"DKIM-Signature", b" v=1; d=good" + odd + b".example; s=s" + odd + b"; b=" + odd),
                (b"Authentication-Results", b" " + odd + b"mx.home.example" + odd + b"; dmarc=pass"),
                (b"List-Id", odd + b"<" + odd + b">"),
                (b"X", b""),
            ):
                milter.header(name, value)
            milter.end_of_header()
            milter.body(odd * 1000)
            reply, edits, _ = milter.end({"i": "4Odd"})
            assert reply.kind in ("continue", "replycode")
            for edit in edits:
                assert not set(edit.value) & ({*range(32), 127} - {9, 10}), edit
                assert edit.value.isascii() or edit.kind != "insert"
            milter.abort()
        # this connection's HELO is odd: only its own result may show that
        require_good(milter)
    with gate.client() as other:
        require_good(other)
    assert gate.strange_log_lines() == []


def test_a_nul_ends_what_libmilter_gives(gate: Strangers, milter: MilterClient) -> None:
    """A C string ends at NUL: what stands behind it cannot make our own field, nor hide a forged one."""
    packet = b"Authentication-Results\0 mx.home.example; dmarc=pass\0more\0"
    milter.mail("u@good.example")
    milter.rcpt("me@home.example")
    milter._queue(b"L", packet)
    milter.header(b"From", b" u@good.example")
    milter.end_of_header()
    reply, edits, _ = milter.end({"i": "4Nul"})
    assert reply.kind == "continue"
    assert [(edit.kind, edit.index) for edit in edits] == [("change", 1), ("insert", 0)]
    milter.abort()


# DNS as a weapon


BOMB_RESULTS = {
    "dots": "fail",
    "unclosed": "permerror",
    "macros": "permerror",
    "terms": "permerror",
    "addresses": "fail",
    "modifiers": "fail",
    "slashes": "permerror",
    "blanks": "fail",
    "loop": "permerror",
    "loop2": "permerror",
    "redirect": "permerror",
    "redirect2": "permerror",
    "ptr": "fail",
    "p-macro": "permerror",
    "mx": "fail",
    "a": "permerror",
    "wide": "permerror",
    "deep": "permerror",
    "heavy": "fail",
    "exp": "fail",
    "300": "permerror",
}


@pytest.mark.parametrize("case", BOMB_RESULTS)
def test_spf_bombs(gate: Strangers, case: str) -> None:
    dns = gate.dns
    dns.forget()
    sender = "a." * 30 + f"z@{case}.bomb.example"
    began = time.monotonic()
    with gate.client(ip="192.0.2.9", helo="odd") as milter:
        outcome = bounded(gate, lambda: milter.send(b"From: u@no-policy.example\n\n", mail_from=sender))
    assert results(outcome)["spf"] == BOMB_RESULTS[case]
    assert time.monotonic() - began < 5.0
    # RFC 7208 §4.6.4: 10 terms, of which each may ask for 10 addresses
    assert len({(query.rdtype, query.name) for query in dns.queries}) < 130
    with gate.client() as other:
        require_good(other)


@pytest.mark.parametrize("number", range(7))
def test_large_dmarc_records_and_keys(gate: Strangers, milter: MilterClient, number: int) -> None:
    fields, body = split_message(f"From: u@big{number}.example\r\n\r\nx\r\n".encode())
    message = join_message([sign(fields, body, f"big{number}.example", "s", KEY), *fields], body)
    outcome = bounded(gate, lambda: milter.send(message, mail_from="u@good.example"))
    if outcome.reply.kind == "continue":
        assert results(outcome)["dkim"] in ("permerror", "policy", "fail")
        assert results(outcome)["dmarc"] in ("none", "permerror", "fail")
    else:
        assert outcome.smtp.startswith("550 5.7.26 ")


def test_three_hundred_records_of_each_kind(gate: Strangers, milter: MilterClient) -> None:
    fields, body = split_message(b"From: u@300.bomb.example\r\n\r\nx\r\n")
    message = join_message([sign(fields, body, "300.bomb.example", "s", KEY), *fields], body)
    outcome = bounded(gate, lambda: milter.send(message, mail_from="u@300.bomb.example"))
    assert results(outcome) == {
        "iprev": "permerror",
        "helo": "none",
        "spf": "permerror",
        "dkim": "permerror",
        "arc": "none",
        "dmarc": "none",
    }


def test_a_dns_server_that_never_answers(gate: Strangers) -> None:
    """Each name that is needed costs one timeout at most, and nobody else waits."""
    timeout = 0.3
    with Strangers(";FAULT * * timeout\n", timeout=timeout) as silent:
        signed = [sign(GOOD_FIELDS, GOOD_BODY, f"d{n}.example", "s", KEY) for n in range(3)]
        message = join_message([*signed, *GOOD_FIELDS], GOOD_BODY)
        with silent.client() as milter:
            began = time.monotonic()
            outcome = milter.send(message, mail_from="u@a.example")
            taken = time.monotonic() - began
            assert results(outcome) == {
                "iprev": "temperror",
                "helo": "temperror",
                "spf": "temperror",
                "dkim": "temperror,temperror,temperror",
                "arc": "none",
                "dmarc": "temperror",
            }
            assert outcome.reply.kind == "continue"
            names = {(query.rdtype, query.name) for query in silent.dns.queries}
            assert taken < len(names) * timeout + 1.0
            # what failed is remembered for some seconds
            began = time.monotonic()
            milter.send(message, mail_from="u@a.example")
            assert time.monotonic() - began < 1.0


# Memory


def test_memory_does_not_grow_with_the_body(gate: Strangers) -> None:
    body = b"0123456789abcdef" * 4 + b"\r\n"
    body *= 25_000_000 // len(body)
    fields = GOOD_FIELDS
    message = join_message([sign(fields, body, "good.example", "s", KEY), *fields], body)
    with gate.client() as milter:
        require_good(milter)
        workers = gate.daemon.workers()
        before = {pid: memory(pid) for pid in workers}
        for pid in workers:
            forget_peak(pid)
        outcome = bounded(gate, lambda: milter.send(message, mail_from="u@good.example"))
        assert results(outcome)["dkim"] == "pass"
        peaks = {pid: memory(pid, "VmHWM") for pid in workers}
    for pid in workers:
        assert peaks[pid] - before[pid] < 8_000_000, f"{before[pid]} then {peaks[pid]} octets"


def test_the_authserv_id_is_the_one_that_the_forgeries_claim() -> None:
    assert AUTHSERV_ID == "mx.home.example"
