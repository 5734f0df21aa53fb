"""`authmilter check` and `authmilter config` as a user runs them, each a process of its own."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from authmilter.cli import main
from tests.support.command import Ran, authmilter, write_settings
from tests.support.dkim_signer import dns_record, join_message, make_key, sign, split_message
from tests.support.dns_server import FakeDns
from tests.support.inbound import AUTHSERV_ID
from tests.test_authmilter.test_dkim_vectors import RFC_6376_KEY, RFC_8463_KEYS

DATA = Path(__file__).parent / "data"
KEY = make_key("ed25519")
FIELDS, BODY = split_message(
    b"Authentication-Results: mx.home.example; dmarc=pass\r\nAuthentication-Results: other.example; spf=pass\r\n"
    b"Authentication-Results: MX.home.example (x); spf=pass\r\nFrom: Ann <u@a.example>\r\nTo: me@home.example\r\n"
    b"Subject: x\r\n\r\nhello\r\n\r\nworld\r\n"
)
MESSAGE = join_message([sign(FIELDS, BODY, "a.example", "s", KEY), *FIELDS], BODY)
ZONE = f"""
a.example.               IN TXT "v=spf1 include:b.example -all"
b.example.               IN TXT "v=spf1 ip4:192.0.2.0/24 -all"
s._domainkey.a.example.  IN TXT "{dns_record(KEY)}"
_dmarc.a.example.        IN TXT "v=DMARC1; p=reject; rua=mailto:d@a.example"
1.2.0.192.in-addr.arpa.  IN PTR mx.a.example.
mx.a.example.            IN A   192.0.2.1
mx.a.example.            IN TXT "v=spf1 a -all"
q.example.               IN TXT "v=spf1 -all exp=e.q.example"
e.q.example.             IN TXT "go away %{{i}}"
_dmarc.q.example.        IN TXT "v=DMARC1; p=quarantine; sp=reject"
"""
WHO = ("--client-ip", "192.0.2.1", "--helo", "mx.a.example", "--mail-from", "bounce@a.example")


@pytest.fixture(scope="module")
def dns() -> Iterator[FakeDns]:
    with FakeDns(ZONE) as server:
        yield server


@pytest.fixture
def config(dns: FakeDns, tmp_path: Path) -> Path:
    return settings(tmp_path, dns.address)


def settings(folder: Path, nameserver: str, **tables: Any) -> Path:
    common: Mapping[str, Any] = {"authserv_id": AUTHSERV_ID, "dns": {"nameservers": [nameserver], "timeout": 2.0}}
    return write_settings(folder, {**common, **tables})


@pytest.fixture
def message(tmp_path: Path) -> Path:
    path = tmp_path / "message.eml"
    path.write_bytes(MESSAGE)
    return path


def as_json(run: Ran) -> dict[str, Any]:
    assert (run.status, run.err) == (0, ""), run
    found: dict[str, Any] = json.loads(run.out)
    return found


# What is printed


def test_json_for_a_message_that_passes(config: Path, message: Path) -> None:
    found = as_json(authmilter("check", "--config", config, *WHO, "--rcpt-to", "me@home.example", "--json", message))
    assert {"headers_add", "headers_remove", "decision", "reply", "results"} <= set(found)
    assert (found["decision"], found["reply"], found["rule"], found["would_be"]) == ("accept", None, "pass", None)
    assert found["headers_remove"] == [["Authentication-Results", 3], ["Authentication-Results", 1]]
    ((name, value),) = found["headers_add"]
    assert name == "Authentication-Results"
    assert value.startswith("mx.home.example;\n\tiprev=pass ")
    results = found["results"]
    assert set(results) >= {"spf", "dkim", "dmarc", "arc", "iprev", "bimi"}
    assert results["bimi"] is None
    assert results["arc"] == {"result": "none", "sets": [], "oldest_pass": 0, "reason": ""}
    assert (results["spf"]["result"], results["spf"]["domain"]) == ("pass", "a.example")
    assert results["spf"]["identity"] == "bounce@a.example"
    assert results["spf"]["mechanism"] == "include:b.example"
    assert (results["spf_helo"]["result"], results["spf_helo"]["domain"]) == ("pass", "mx.a.example")
    ((dkim),) = results["dkim"]
    assert (dkim["result"], dkim["domain"], dkim["selector"]) == ("pass", "a.example", "s")
    assert (dkim["algorithm"], dkim["identity"]) == ("ed25519-sha256", "@a.example")
    dmarc = results["dmarc"]
    assert (dmarc["result"], dmarc["from"], dmarc["policy"]) == ("pass", "a.example", "reject")
    assert (dmarc["policy_domain"], dmarc["spf_aligned"], dmarc["dkim_aligned"]) == ("a.example", True, True)
    assert results["iprev"] == {"result": "pass", "ip": "192.0.2.1", "name": "mx.a.example", "reason": ""}


@pytest.mark.parametrize(
    ("sender", "tables", "decision", "rule", "reply"),
    [
        ("u@q.example", {}, "quarantine", "policy", None),
        ("u@sub.q.example", {}, "reject", "policy", "550 5.7.26 "),
        ("u@q.example", {"dmarc": {"on_quarantine": "reject"}}, "reject", "policy", "550 5.7.26 "),
        ("u@sub.q.example", {"dmarc": {"on_reject": "accept"}}, "accept", "policy", None),
        ("u@none.example", {}, "accept", "no-policy", None),
        ("u@q.example", {"trust": {"networks": ["192.0.2.0/24"]}}, "accept", "own", None),
        ("u@q.example", {"trust": {"forwarders": ["a.example"]}}, "accept", "forwarder", None),
        ("not an address", {}, "reject", "bad-from", "550 5.7.1 "),
    ],
)
def test_decisions(
    dns: FakeDns, tmp_path: Path, sender: str, tables: Mapping[str, Any], decision: str, rule: str, reply: str | None
) -> None:
    path = settings(tmp_path, dns.address, **tables)
    run = authmilter("check", "--config", path, *WHO, "--json", "-", stdin=f"From: {sender}\n\nx\n".encode())
    found = as_json(run)
    assert (found["decision"], found["rule"]) == (decision, rule)
    assert found["reply"].startswith(reply) if reply else found["reply"] is None


def test_a_policy_that_is_not_applied_is_marked(dns: FakeDns, tmp_path: Path) -> None:
    path = settings(tmp_path, dns.address, trust={"forwarders": ["a.example"]})
    text = b"From: u@sub.q.example\n\nx\n"
    found = as_json(authmilter("check", "--config", path, *WHO, "--json", "-", stdin=text))
    assert found["override"] == {"type": "trusted_forwarder", "comment": "trusted forwarder mx.a.example"}
    assert found["results"]["dmarc"]["policy"] == "reject"
    assert "accept by forwarder) " in found["headers_add"][0][1].replace("\n\t", " ")
    assert "policy.dmarc=reject" in found["headers_add"][0][1]
    shown = authmilter("check", "--config", path, *WHO, "-", stdin=text).out
    assert "\npolicy reject not applied: trusted_forwarder (trusted forwarder mx.a.example)\n" in shown
    applied = as_json(authmilter("check", "--config", settings(tmp_path, dns.address), *WHO, "--json", "-", stdin=text))
    assert applied["override"] is None


def test_dry_run_says_what_would_have_been(dns: FakeDns, tmp_path: Path) -> None:
    path = settings(tmp_path, dns.address, dmarc={"dry_run": True})
    text = b"From: u@sub.q.example\n\nx\n"
    found = as_json(authmilter("check", "--config", path, *WHO, "--json", "-", stdin=text))
    assert (found["decision"], found["would_be"], found["reply"]) == ("accept", "reject", None)
    assert "dry run, would be reject" in found["headers_add"][0][1]
    assert "without dry_run: reject\n" in authmilter("check", "--config", path, *WHO, "-", stdin=text).out


def test_text_for_people(config: Path, message: Path, dns: FakeDns, tmp_path: Path) -> None:
    run = authmilter("check", "--config", config, *WHO, message)
    assert (run.status, run.err) == (0, "")
    assert run.out.startswith("Authentication-Results: mx.home.example;\n\tiprev=pass ")
    assert "\nremoved: Authentication-Results (3)\nremoved: Authentication-Results (1)\n" in run.out
    assert "\ndecision: accept (rule pass: aligned: SPF for a.example and DKIM for a.example)\n" in run.out
    refused = authmilter("check", "--config", config, *WHO, "-", stdin=b"From: u@sub.q.example\n\nx\n")
    assert refused.status == 0  # the command did what it was asked for
    assert "\ndecision: reject (rule policy: " in refused.out
    assert "\nreply: 550 5.7.26 DMARC: mail with a From address in sub.q.example" in refused.out


def test_the_explanation_of_a_fail(config: Path) -> None:
    who = ("--client-ip", "192.0.2.1", "--helo", "h.example", "--mail-from", "u@q.example")
    found = as_json(authmilter("check", "--config", config, *who, "--json", "-", stdin=b"From: u@a.example\n\n"))
    assert found["results"]["spf"]["explanation"] == "go away 192.0.2.1"


@pytest.mark.parametrize("sender", ["", "<>", "<bounce@a.example>", "bounce@a.example", " bounce@a.example "])
def test_ways_to_write_the_sender(config: Path, message: Path, sender: str) -> None:
    who = ("--client-ip", "192.0.2.1", "--helo", "mx.a.example", "--mail-from", sender)
    spf = as_json(authmilter("check", "--config", config, *who, "--json", message))["results"]["spf"]
    null = sender in ("", "<>")
    assert spf["identity"] == ("postmaster@mx.a.example" if null else "bounce@a.example")
    assert spf["result"] == "pass"


@pytest.mark.parametrize(
    ("ip", "shown"),
    [("::ffff:192.0.2.1", "192.0.2.1"), ("2001:DB8:0::1", "2001:db8::1"), ("fe80::1%eth0", "fe80::1")],
)
def test_ways_to_write_the_address(config: Path, message: Path, ip: str, shown: str) -> None:
    who = ("--client-ip", ip, "--helo", "h.example", "--mail-from", "")
    assert as_json(authmilter("check", "--config", config, *who, "--json", message))["results"]["iprev"]["ip"] == shown


# The message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CRLF", MESSAGE),
        ("LF", MESSAGE.replace(b"\r\n", b"\n")),
        ("mbox", b"From bounce@a.example Tue Nov 24 02:42:21 2026\n" + MESSAGE.replace(b"\r\n", b"\n")),
        ("mbox and CRLF", b"From bounce@a.example Tue Nov 24 02:42:21 2026\r\n" + MESSAGE),
    ],
)
def test_forms_of_a_message(config: Path, name: str, text: bytes) -> None:
    found = as_json(authmilter("check", "--config", config, *WHO, "--json", "-", stdin=text))
    assert [each["result"] for each in found["results"]["dkim"]] == ["pass"]
    assert found["headers_remove"] == [["Authentication-Results", 3], ["Authentication-Results", 1]]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"\r\n\r\n",
        b"no header\n",
        b"From u@a.example\n",
        b":\n",
        b" From: u@a.example\n",
        b"\0\0\0\0",
        bytes(range(256)) * 100,
        b"\xff\xfe" + "From: u@a.example\n\nx".encode("utf-16-le"),
    ],
    ids=[
        "empty",
        "empty line",
        "CRLF only",
        "no header",
        "mbox only",
        "colon",
        "blank first",
        "NUL",
        "octets",
        "UTF-16",
    ],
)
def test_files_that_are_no_message(config: Path, text: bytes) -> None:
    found = as_json(authmilter("check", "--config", config, *WHO, "--json", "-", stdin=text))
    assert (found["decision"], found["rule"]) == ("reject", "bad-from")
    assert found["results"]["dmarc"]["result"] == "permerror"
    assert found["results"]["dkim"][0]["result"] == "none"


@pytest.mark.parametrize("text", [b"From: u@a.example", b"From: u@a.example\n", b"From: u@a.example\r\n\r\n"])
def test_messages_without_a_body(config: Path, text: bytes) -> None:
    found = as_json(authmilter("check", "--config", config, *WHO, "--json", "-", stdin=text))
    assert (found["decision"], found["results"]["dmarc"]["result"]) == ("accept", "pass")


# Recordings


def test_a_recording_gives_the_same_without_a_network(
    config: Path, message: Path, tmp_path: Path, dns: FakeDns
) -> None:
    recording = tmp_path / "case.json"
    for form in ((), ("--json",)):
        live = authmilter("check", "--config", config, *WHO, *form, "--record-dns", recording, message)
        assert live.status == 0
        dead = settings(tmp_path, "127.0.0.1:1")
        dns.forget()
        replayed = authmilter("check", "--config", dead, *WHO, *form, "--dns", recording, message)
        assert replayed == live
        assert not dns.queries
        settings(tmp_path, dns.address)
    names = {line.split('"')[3] for line in recording.read_text().splitlines() if '"name"' in line}
    assert {"a.example", "b.example", "s._domainkey.a.example", "_dmarc.a.example", "mx.a.example"} <= names


@pytest.mark.parametrize(
    ("missing", "spf", "dkim", "dmarc", "iprev"),
    [
        ("a.example", "temperror", "pass", "pass", "pass"),
        ("b.example", "temperror", "pass", "pass", "pass"),
        ("s._domainkey.a.example", "pass", "temperror", "pass", "pass"),
        ("_dmarc.a.example", "pass", "pass", "temperror", "pass"),
        ("1.2.0.192.in-addr.arpa", "pass", "pass", "pass", "temperror"),
    ],
)
def test_what_a_recording_lacks_is_a_temperror(
    config: Path, message: Path, tmp_path: Path, dns: FakeDns, missing: str, spf: str, dkim: str, dmarc: str, iprev: str
) -> None:
    recording = tmp_path / "case.json"
    authmilter("check", "--config", config, *WHO, "--record-dns", recording, message)
    document = json.loads(recording.read_text())
    kept = [answer for answer in document["answers"] if answer["name"] != missing]
    assert len(kept) == len(document["answers"]) - 1
    recording.write_text(json.dumps({**document, "answers": kept}))
    dns.forget()
    # the name server that the settings have would answer
    results = as_json(authmilter("check", "--config", config, *WHO, "--json", "--dns", recording, message))["results"]
    assert not dns.queries
    assert results["spf"]["result"] == spf
    assert results["dkim"][0]["result"] == dkim
    assert results["dmarc"]["result"] == dmarc
    assert results["iprev"]["result"] == iprev


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a DNS recording"),
        ("{}", "not a DNS recording"),
        ("[1]", "not a DNS recording"),
        ("[" * 100_000, "not a DNS recording"),
        ('{"gatepost-dns": 99, "answers": []}', "version 99"),
        ('{"gatepost-dns": 1, "answers": 7}', "answers"),
        ('{"gatepost-dns": 1, "answers": [{"name": "a"}]}', "answer 1"),
        (
            '{"gatepost-dns": 1, "answers": [{"name": "a\\n\\u001b", "type": "X\\nY", "status": "z", "ttl": 1}]}',
            "answer 1",
        ),
    ],
)
def test_damaged_recordings(config: Path, message: Path, tmp_path: Path, text: str, said: str) -> None:
    recording = tmp_path / "case.json"
    recording.write_text(text)
    line = authmilter("check", "--config", config, *WHO, "--dns", recording, message).refused()
    assert line.startswith(f"--dns: {recording}: ")
    assert said in line


def test_files_that_cannot_be_read_or_written(config: Path, message: Path, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, said in ((tmp_path / "missing", "No such file"), (tmp_path, "directory"), (binary, "")):
        line = authmilter("check", "--config", config, *WHO, "--dns", path, message).refused()
        assert line.startswith(f"--dns: {path}: ")
        assert said in line
    unwritable = authmilter("check", "--config", config, *WHO, "--record-dns", tmp_path / "no" / "x", message)
    assert "--record-dns: " in unwritable.refused()
    both = authmilter("check", "--config", config, *WHO, "--record-dns", binary, "--dns", binary, message)
    assert "exclude" in both.refused()
    assert binary.read_bytes() == b"\xff\xfe\x00"


# Requests that cannot be carried out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--client-ip", "192.0.2.300", "--helo", "h", "--mail-from", ""), "is not an IP address"),
        (("--client-ip", "", "--helo", "h", "--mail-from", ""), "is not an IP address"),
        (("--client-ip", "mx.example\n\x1b", "--helo", "h", "--mail-from", ""), "is not an IP address"),
    ],
)
def test_bad_addresses(config: Path, message: Path, words: tuple[str, ...], said: str) -> None:
    assert said in authmilter("check", "--config", config, *words, message).refused()


@pytest.mark.parametrize(
    "words",
    [
        ("check",),
        ("check", "--helo", "h"),
        ("check", *WHO),
        ("check", *WHO, "/nonexistent/message"),
        ("check", *WHO, "--colour", "-"),
        ("chek",),
        ("config", "extra"),
    ],
)
def test_bad_command_lines(words: tuple[str, ...]) -> None:
    run = authmilter(*words)
    assert run.status == 2
    assert not run.out
    assert "Error: " in run.err.splitlines()[-1]
    assert "Traceback" not in run.err


def test_help_and_version() -> None:
    for words in (("--help",), ("-h",), ("check", "--help"), ("--version",)):
        run = authmilter(*words)
        assert (run.status, run.err) == (0, "")
        assert run.out


# The settings


def test_config_prints_what_is_in_force(tmp_path: Path) -> None:
    path = write_settings(
        tmp_path, {"authserv_id": "mx.example", "dmarc": {"domains": {"a.example": {"on_reject": "accept"}}}}
    )
    run = authmilter("config", "--config", path)
    assert (run.status, run.err) == (0, "")
    found = tomllib.loads(run.out)
    assert (found["authserv_id"], found["workers"], found["dns"]["timeout"]) == ("mx.example", 0, 5.0)
    assert found["dmarc"]["domains"] == {"a.example": {"on_reject": "accept"}}


BAD_SETTINGS = [
    ('sokcet = "unix:/x"', "line 1: sokcet: unknown key, did you mean socket?"),
    ("[dmarc]\non_reject = 'drop'", "line 2: [dmarc] on_reject: "),
    ("[dns\n", "at line 1"),
    ("workers = 1000", "line 1: workers: "),
    ("[dns]\nnameservers = ['ns.example']", "line 2: [dns.nameservers] 0: "),
]


@pytest.mark.parametrize("command", [("config",), ("serve",), ("check", *WHO, "-")])
@pytest.mark.parametrize(("text", "said"), BAD_SETTINGS)
def test_bad_settings(tmp_path: Path, command: tuple[str, ...], text: str, said: str) -> None:
    path = tmp_path / "authmilter.toml"
    path.write_text(text)
    name, *rest = command
    line = authmilter(name, "--config", path, *rest).refused()
    assert line.startswith(f"{path}: ")
    assert said in line


@pytest.mark.parametrize("command", ["config", "serve"])
def test_settings_that_cannot_be_read(tmp_path: Path, command: str) -> None:
    assert "No such file" in authmilter(command, "--config", tmp_path / "missing").refused()
    assert "directory" in authmilter(command, "--config", tmp_path).refused()
    (tmp_path / "binary").write_bytes(os.urandom(100) + b"\xff")
    assert "not UTF-8" in authmilter(command, "--config", tmp_path / "binary").refused()


# The examples of the standards


def recording(folder: Path, texts: Mapping[str, str], when: int | None = None) -> Path:
    """A recording written by hand: these TXT records, and nothing else exists in the names that are needed."""
    answers = [
        {
            "name": name,
            "type": "TXT",
            "status": "ok" if text else "nxdomain",
            "ttl": 300,
            **({"records": [text]} if text else {}),
        }
        for name, text in texts.items()
    ]
    path = folder / "recording.json"
    document: dict[str, Any] = {"gatepost-dns": 1, "answers": answers}
    if when is not None:
        document["time"] = when
    path.write_text(json.dumps(document))
    return path


def replay(
    folder: Path,
    texts: Mapping[str, str],
    message: bytes,
    *,
    mail_from: str,
    helo: str = "h.example",
    ip: str = "192.0.2.1",
) -> dict[str, Any]:
    words = ("--client-ip", ip, "--client-name", "h.example", "--helo", helo, "--mail-from", mail_from)
    path = write_settings(folder, {"authserv_id": AUTHSERV_ID, "spf": {"check_helo": False}})
    arguments = ["check", "--config", str(path), *words, "--json", "--dns", str(recording(folder, texts)), "-"]
    done = CliRunner().invoke(main, arguments, input=message)  # in this process: there are many of these
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_rfc_8463_appendix_a(tmp_path: Path) -> None:
    """Both signatures of the message, Ed25519 and RSA."""
    texts = {
        **RFC_8463_KEYS,
        "football.example.com": "v=spf1 -all",
        "_dmarc.football.example.com": "v=DMARC1; p=reject; adkim=s; aspf=s",
        "_dmarc.example.com": "",
        "_dmarc.com": "",
    }
    text = (DATA / "dkim_rfc8463.eml").read_bytes()
    found = replay(tmp_path, texts, text, mail_from="joe@football.example.com")
    assert [(each["result"], each["algorithm"]) for each in found["results"]["dkim"]] == [
        ("pass", "ed25519-sha256"),
        ("pass", "rsa-sha256"),
    ]
    assert (found["results"]["spf"]["result"], found["results"]["dmarc"]["result"]) == ("fail", "pass")
    spoiled = replay(
        tmp_path, texts, text.replace(b"lost the game", b"won the game"), mail_from="joe@football.example.com"
    )
    assert [each["result"] for each in spoiled["results"]["dkim"]] == ["fail", "fail"]
    assert (spoiled["decision"], spoiled["results"]["dmarc"]["result"]) == ("reject", "fail")


def test_rfc_6376_appendix_a(tmp_path: Path) -> None:
    texts = {
        "brisbane._domainkey.example.com": RFC_6376_KEY,
        "football.example.com": "",
        "_dmarc.football.example.com": "",
        "_dmarc.example.com": "v=DMARC1; p=reject",
        "_dmarc.com": "",
    }
    text = (DATA / "dkim_rfc6376_a2.eml").read_bytes()
    found = replay(tmp_path, texts, text, mail_from="joe@football.example.com")
    (dkim,) = found["results"]["dkim"]
    assert (dkim["result"], dkim["domain"], dkim["identity"]) == ("pass", "example.com", "joe@football.example.com")
    assert (found["results"]["dmarc"]["result"], found["results"]["dmarc"]["from"]) == ("pass", "football.example.com")


def signed(author: str, domain: str) -> bytes:
    fields, body = split_message(f"From: a@{author}\r\nTo: r@example.org\r\nSubject: x\r\n\r\nx\r\n".encode())
    return join_message([sign(fields, body, domain, "s", KEY), *fields], body)


@pytest.mark.parametrize(
    ("author", "mail_from", "domain", "record", "dmarc", "spf_aligned", "dkim_aligned"),
    [
        # RFC 9989 §B.1.1: SPF in alignment, in relaxed alignment only, and not
        ("example.com", "sender@example.com", "", "v=DMARC1; p=reject; aspf=s", "pass", True, False),
        ("child.example.com", "sender@example.com", "", "v=DMARC1; p=reject", "pass", True, False),
        ("child.example.com", "sender@example.com", "", "v=DMARC1; p=reject; aspf=s", "fail", False, False),
        ("child.example.com", "sender@example.net", "", "v=DMARC1; p=reject", "fail", False, False),
        # RFC 9989 §B.1.2: DKIM likewise
        ("example.com", "", "example.com", "v=DMARC1; p=reject; adkim=s", "pass", False, True),
        ("child.example.com", "", "example.com", "v=DMARC1; p=reject", "pass", False, True),
        ("child.example.com", "", "example.com", "v=DMARC1; p=reject; adkim=s", "fail", False, False),
        ("child.example.com", "", "sample.net", "v=DMARC1; p=reject", "fail", False, False),
    ],
)
def test_rfc_9989_appendix_b1(
    tmp_path: Path,
    author: str,
    mail_from: str,
    domain: str,
    record: str,
    dmarc: str,
    spf_aligned: bool,
    dkim_aligned: bool,
) -> None:
    texts = dict.fromkeys(("example.com", "example.net", "child.example.com"), "v=spf1 +all")
    texts |= {"h.example": "", "_dmarc.example.net": "", "_dmarc.net": "", "_dmarc.com": "", "_dmarc.sample.net": ""}
    texts |= {"_dmarc.example.com": record, "_dmarc.child.example.com": "", f"s._domainkey.{domain}": dns_record(KEY)}
    text = signed(author, domain) if domain else f"From: a@{author}\n\nx\n".encode()
    found = replay(tmp_path, texts, text, mail_from=mail_from)["results"]["dmarc"]
    assert (found["result"], found["spf_aligned"], found["dkim_aligned"]) == (dmarc, spf_aligned, dkim_aligned)


@pytest.mark.parametrize(
    ("record", "policy", "decision"),
    [
        # RFC 9989 §B.2.1, §B.2.3, §B.2.4
        ("v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com", "none", "accept"),
        (
            "v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com,mailto:tld-test@thirdparty.example.net!10m",
            "none",
            "accept",
        ),
        (
            "v=DMARC1; p=quarantine; rua=mailto:dmarc-feedback@example.com,mailto:tld-test@thirdparty.example.net; t=y",
            "none",
            "accept",
        ),
        ("v=DMARC1; p=quarantine; rua=mailto:dmarc-feedback@example.com", "quarantine", "quarantine"),
        ("v=DMARC1; p=reject; t=y", "quarantine", "quarantine"),
    ],
)
def test_rfc_9989_appendix_b2(tmp_path: Path, record: str, policy: str, decision: str) -> None:
    texts = {"example.com": "v=spf1 -all", "_dmarc.example.com": record, "_dmarc.com": ""}
    found = replay(tmp_path, texts, b"From: a@example.com\n\nx\n", mail_from="a@example.com")
    assert (found["results"]["dmarc"]["result"], found["results"]["dmarc"]["policy"]) == ("fail", policy)
    assert found["decision"] == decision
    assert f"policy.dmarc={policy}" in found["headers_add"][0][1]


LONG = "a.b.c.d.e.f.g.h.i.j.mail.example.com"


def walk(*names: str) -> dict[str, str]:
    return {f"_dmarc.{name}": "" for name in names}


@pytest.mark.parametrize(
    ("author", "texts", "mail_from", "policy_domain", "dmarc"),
    [
        # RFC 9989 §4.10: these names are asked, none besides: any other would be a temperror
        (
            LONG,
            {
                **walk(
                    LONG,
                    "g.h.i.j.mail.example.com",
                    "h.i.j.mail.example.com",
                    "i.j.mail.example.com",
                    "j.mail.example.com",
                    "mail.example.com",
                    "com",
                ),
                "_dmarc.example.com": "v=DMARC1; p=reject",
            },
            "u@example.com",
            "example.com",
            "pass",
        ),
        # RFC 9989 §B.4.1
        (
            "mail.example.com",
            {**walk("mail.example.com", "com"), "_dmarc.example.com": "v=DMARC1; p=reject"},
            "u@example.com",
            "example.com",
            "pass",
        ),
        # RFC 9989 §B.4.2: a deep walk
        (
            "a.b.c.d.e.f.g.h.i.j.k.example.com",
            {
                **walk(
                    "a.b.c.d.e.f.g.h.i.j.k.example.com",
                    "g.h.i.j.k.example.com",
                    "h.i.j.k.example.com",
                    "i.j.k.example.com",
                    "j.k.example.com",
                    "k.example.com",
                    "com",
                ),
                "_dmarc.example.com": "v=DMARC1; p=reject",
            },
            "u@example.com",
            "example.com",
            "pass",
        ),
        # RFC 9989 §B.4.3: two registrants below one Public Suffix Domain
        (
            "giant.bank.example",
            {**walk("giant.bank.example", "mega.bank.example"), "_dmarc.bank.example": "v=DMARC1; p=reject; psd=y"},
            "u@mega.bank.example",
            "bank.example",
            "fail",
        ),
        (
            "mail.giant.bank.example",
            {
                **walk("mail.giant.bank.example"),
                "_dmarc.giant.bank.example": "v=DMARC1; p=reject",
                "_dmarc.bank.example": "v=DMARC1; p=reject; psd=y",
            },
            "u@giant.bank.example",
            "giant.bank.example",
            "pass",
        ),
        # RFC 9989 §4.10.2: psd=n ends the walk
        (
            "a.mail.example.com",
            {**walk("a.mail.example.com"), "_dmarc.mail.example.com": "v=DMARC1; p=reject; psd=n"},
            "u@mail.example.com",
            "mail.example.com",
            "pass",
        ),
    ],
)
def test_rfc_9989_tree_walks(
    tmp_path: Path, author: str, texts: Mapping[str, str], mail_from: str, policy_domain: str, dmarc: str
) -> None:
    domain = mail_from.partition("@")[2]
    known = {**texts, domain: "v=spf1 +all", author: "v=spf1 +all", "h.example": ""}
    found = replay(tmp_path, known, f"From: a@{author}\n\nx\n".encode(), mail_from=mail_from)["results"]["dmarc"]
    assert (found["result"], found["policy_domain"]) == (dmarc, policy_domain), found
