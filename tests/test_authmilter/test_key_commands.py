"""`authmilter key new` and `authmilter key check`, as processes and against answers of every kind."""

from __future__ import annotations

import os
import pwd
import re
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from authmilter import key_commands
from authmilter.dkim import key as records
from authmilter.sign import publish
from authmilter.sign.key import PrivateKey, Reader, load
from mailcommon.dns.answer import Answer, Status
from tests.support.daemon_process import toml
from tests.support.dkim_signer import dns_record, make_key, public_base64
from tests.support.dkim_zone import TxtTable
from tests.support.inbound import settings_of
from tests.support.milter_daemon import program
from tests.support.signing import Keys
from tests.support.unbound import PrivateUnbound
from tests.support.unbound import missing as unbound_missing


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program(), *arguments], capture_output=True, text=True, timeout=60, check=False)


def text_of(zone_line: str) -> str:
    """The text of a TXT record in zone-file form."""
    return "".join(re.findall(r'"([^"]*)"', zone_line))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [("s1", "rsa", 2048)]),
        (["--bits", "4096"], [("s1", "rsa", 4096)]),
        (["--type", "ed25519"], [("s1", "ed25519", 256)]),
        (["--type", "both"], [("s1", "rsa", 2048), ("s1-ed25519", "ed25519", 256)]),
    ],
)
def test_new(tmp_path: Path, options: list[str], expected: list[tuple[str, str, int]]) -> None:
    folder = tmp_path / "keys"
    done = run("key", "new", "Example.ORG", "s1", "--dir", folder, *options)
    assert done.returncode == 0, done.stderr
    lines = re.split(r"\n(?!\t)", done.stdout.rstrip("\n"))
    for line, (selector, kind, bits) in zip(lines, expected, strict=True):
        assert line.startswith(f"{selector}._domainkey.example.org. 3600 IN TXT ")
        path = folder / f"example.org.{selector}.pem"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        key = load(path)
        assert (key.kind, key.bits, text_of(line)) == (kind, bits, publish.record_text(key))
        assert all(len(part) <= 255 for part in re.findall(r'"([^"]*)"', line))
        assert str(path) in done.stderr
    assert "PRIVATE" not in done.stdout + done.stderr


def test_what_is_printed_is_what_a_name_server_takes_and_check_finds(tmp_path: Path) -> None:
    if unbound_missing():
        pytest.skip(unbound_missing())
    made = run("key", "new", "example.org", "s1", "--type", "both", "--dir", tmp_path)
    with PrivateUnbound(made.stdout) as dns:
        config = tmp_path / "authmilter.toml"
        settings = made.stderr.partition("\n\n[sign")[2].replace("Once", "# Once")
        config.write_text(f'[dns]\nnameservers = ["{dns.address}"]\n[sign' + settings)
        checked = run("key", "check", "--config", config)
        assert (checked.returncode, checked.stdout.splitlines()) == (
            0,
            [
                "s1._domainkey.example.org: good (rsa, 2048 bits)",
                "s1-ed25519._domainkey.example.org: good (ed25519, 256 bits)",
            ],
        )
        (tmp_path / "example.org.s1.pem").unlink()
        run("key", "new", "example.org", "s1", "--dir", tmp_path)
        again = run("key", "check", "example.org", "s1", "--config", config)
        assert (again.returncode, again.stdout) == (
            1,
            "s1._domainkey.example.org: another rsa key is published (2048 bits) than the one in the file\n",
        )
        assert run("key", "check", "example.com", "--config", config).returncode == 2


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    assert run("key", "new", "example.org", "s1-ed25519", "--dir", tmp_path).returncode == 0
    before = (tmp_path / "example.org.s1-ed25519.pem").read_bytes()
    for arguments in (["s1-ed25519"], ["s1", "--type", "both"]):
        done = run("key", "new", "example.org", *arguments, "--dir", tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "is there already and is not overwritten" in done.stderr
    assert (tmp_path / "example.org.s1-ed25519.pem").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_comes_in_between_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "example.org.s1.pem"
    path.write_bytes(b"precious")
    with pytest.raises(key_commands.KeyCommandError, match="is there already"):
        key_commands._write(path, PrivateKey("rsa", 2048, RSA), "")
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("domain", "selector", "words"),
    [
        ("org", "s1", "'org' is not a domain"),
        ("a..b", "s1", "is not a domain"),
        ("../x.example", "s1", "is not a domain"),
        ("example.org", "s/1", "is not a selector"),
        ("example.org", "s_1", "is not a selector"),
        ("example.org", "", "is not a selector"),
        (".".join(["x" * 60] * 4), "s1", "more than 253 characters"),
    ],
)
def test_bad_names(tmp_path: Path, domain: str, selector: str, words: str) -> None:
    with pytest.raises(key_commands.KeyCommandError, match=re.escape(words)):
        key_commands.new(domain, selector, "rsa", 2048, tmp_path, "")
    assert list(tmp_path.iterdir()) == []


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(key_commands.KeyCommandError, match="cannot be made: No such file or directory"):
        key_commands.new("example.org", "s1", "rsa", 2048, tmp_path / "a" / "b", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_daemons_user_may_read_what_root_makes(tmp_path: Path) -> None:
    key_commands.new("example.org", "s1", "ed25519", 0, tmp_path, "nobody")
    found = (tmp_path / "example.org.s1.pem").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, pwd.getpwnam("nobody").pw_gid, 0o640)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_daemons_user_gets_into_the_folder_whatever_the_umask(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    old = os.umask(0o077)
    try:
        key_commands.new("example.org", "s1", "ed25519", 0, tmp_path / "keys", "nobody")
    finally:
        os.umask(old)
    assert load(tmp_path / "keys" / "example.org.s1.pem", reader=Reader.of("nobody")).kind == "ed25519"


RSA = make_key("rsa")
P = public_base64(RSA)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (dns_record(RSA), "good (rsa, 2048 bits)"),
        (f"p={P}", "good (rsa, 2048 bits)"),
        (["v=spf1 -all", dns_record(RSA)], "good (rsa, 2048 bits), and 1 TXT records that are no keys"),
        (Status.NXDOMAIN, "not published: there is no such name"),
        (Status.NODATA, "not published: the name has no TXT record"),
        (Status.SERVFAIL, "DNS does not answer now (servfail): nothing can be said"),
        (Status.TIMEOUT, "DNS does not answer now (timeout): nothing can be said"),
        ("v=spf1 -all", "the TXT record is no key: the record is not a key record"),
        (f"v=DKIM1; k=rsa; p={P[:-8]}", "the TXT record is no key: p= cannot be read in the key record"),
        ("v=DKIM1; k=rsa; p=", "the key is revoked"),
        (f"v=DKIM1; h=sha1; p={P}", "the key does not allow sha256"),
        (f"v=DKIM1; s=tlsrpt; p={P}", "the key is not for mail"),
        (f"v=DKIM1; t=y; p={P}", "the key is published in test mode (t=y): verifiers treat the mail as unsigned"),
        (dns_record(make_key("ed25519")), "the record has k=ed25519, the key in the file is rsa"),
        (
            dns_record(make_key(bits=1024)),
            "another rsa key is published (1024 bits) than the one in the file",
        ),
        (
            [dns_record(RSA), dns_record(make_key(serial=1))],
            "2 key records are published under this name, verifiers take any one of them",
        ),
    ],
)
def test_what_is_wrong_with_a_record(tmp_path: Path, answer: Any, words: str) -> None:
    keys = Keys(tmp_path)
    settings = settings_of(keys.tables({"one": ("example.org", "s1", "rsa")}, {}))
    table: Any = TxtTable({"s1._domainkey.example.org": answer})
    (report,) = key_commands.check(settings, "", "", table)
    assert (report.name, report.text) == ("s1._domainkey.example.org", words)
    assert report.good == words.startswith("good")


def test_a_key_file_that_cannot_be_read(tmp_path: Path) -> None:
    settings = settings_of(Keys(tmp_path).tables({"one": ("example.org", "s1", "rsa")}, {}))
    (tmp_path / "example.org.s1.pem").chmod(0o644)
    table: Any = TxtTable({})
    (report,) = key_commands.check(settings, "example.org", "s1", table)
    assert (report.good, "has mode 0644" in report.text) == (False, True)


def test_one_key_for_several_domains_is_looked_for_under_each(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    file = str(keys.add("x.example", "s1"))
    patterns = {"a.example": ["all"], "u@b.example": ["all"], "*.c.example": ["all"]}
    settings = settings_of({"sign": {"keys": {"all": {"selector": "s1", "file": file}}, "table": patterns}})
    table: Any = TxtTable({"s1._domainkey.b.example": keys.records["s1._domainkey.x.example"]})
    reports = key_commands.check(settings, "", "", table)
    assert [(report.name, report.good) for report in reports] == [
        ("s1._domainkey.a.example", False),
        ("s1._domainkey.b.example", True),
    ]


def config_with(tmp_path: Path, sign: Mapping[str, Any]) -> Path:
    path = tmp_path / "authmilter.toml"
    path.write_text(toml({"sign": sign}))
    return path


def test_config_reads_the_keys_and_prints_nothing_of_them(tmp_path: Path) -> None:
    tables = Keys(tmp_path).tables({"one": ("example.org", "s1", "rsa")}, {"example.org": ["one"]})
    config = config_with(tmp_path, tables["sign"])
    shown = run("config", "--config", config)
    assert shown.returncode == 0
    assert '"example.org" = ["one"]' in shown.stdout
    secret = (tmp_path / "example.org.s1.pem").read_text().splitlines()[5]
    assert secret not in shown.stdout + shown.stderr
    (tmp_path / "example.org.s1.pem").unlink()
    refused = run("config", "--config", config)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert re.fullmatch(r"authmilter: \[sign\] /.*\.pem: there is no such file: make a key with `.*`\n", refused.stderr)


def test_check_shows_what_would_be_signed(tmp_path: Path) -> None:
    tables = Keys(tmp_path).tables({"one": ("example.org", "s1", "rsa")}, {"example.org": ["one"]})
    config = config_with(tmp_path, tables["sign"])
    message = tmp_path / "message"
    message.write_bytes(b"From: a@example.org\n\nhello\n")
    common: list[str | Path] = [
        "check",
        "--config",
        config,
        "--client-ip",
        "192.0.2.1",
        "--helo",
        "x.example",
        "--mail-from",
        "a@example.org",
    ]
    shown = run(*common, "--auth-user", "a", message)
    assert shown.stdout.startswith("DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s1;")
    assert "decision: accept (rule own" in shown.stdout
    stranger = run(*common, "--dns", write(tmp_path / "dns", '{"time": 1, "answers": []}'), message)
    assert "DKIM-Signature" not in stranger.stdout


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_record_and_key_fit_whatever_wrote_the_record() -> None:
    for key in (RSA, make_key("ed25519")):
        kind = "rsa" if key is RSA else "ed25519"
        answer = Answer(Status.OK, (dns_record(key).encode(),))
        mine = PrivateKey(kind, 2048 if kind == "rsa" else 256, key)
        assert records.parse(publish.record_text(mine).encode()) == records.parse(answer.records[0])
        assert publish.judge(mine, answer)[0]
