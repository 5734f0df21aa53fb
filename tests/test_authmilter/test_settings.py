"""Settings: the file shown to users equals the code, and what is wrong is said in one line with its place."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import pytest

from authmilter import settings as settings_file
from authmilter.settings import Settings
from mailcommon.settings import SettingsError
from mailcommon.settings_text import as_toml

CONF = Path(__file__).parents[2] / "conf" / "authmilter.toml"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "authmilter.toml"
    path.write_text(text)
    return path


def test_conf_shows_every_key_at_its_default() -> None:
    assert settings_file.load(CONF) == Settings()
    shown = tomllib.loads(CONF.read_text())
    assert shown == tomllib.loads(as_toml(Settings()))


def test_conf_explains_every_key() -> None:
    lines = CONF.read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r"\w+ = ", line):
            assert before.startswith("#") or re.match(r"\w+ = ", before), f"no comment above {line}"


def test_what_config_prints_is_the_same_settings(tmp_path: Path) -> None:
    text = 'authserv_id = "mx.example"\n[dmarc]\non_reject = "quarantine"\n'
    text += '[dmarc.domains."Bücher.example"]\non_reject = "accept"\n'
    settings = settings_file.load(write(tmp_path, text))
    assert settings_file.load(write(tmp_path, as_toml(settings))) == settings
    assert list(settings.dmarc.domains) == ["xn--bcher-kva.example"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('sokcet = "inet:1@127.0.0.1"', r"line 1: sokcet: unknown key, did you mean socket\?"),
        ("# c\n[dmarc]\non_rejct = 'accept'", r"line 3: \[dmarc\] on_rejct: unknown key, did you mean on_reject\?"),
        ("[dmark]\n", r"line 1: dmark: unknown key, did you mean dmarc\?"),
        ("[dmarc]\non_reject = 'drop'", r"line 2: \[dmarc\] on_reject: should be 'reject', 'quarantine' or 'accept'"),
        ("workers = 'two'", r"line 1: workers: should be a whole number, without quotes"),
        ("workers = -1", r"line 1: workers: should be greater than or equal to 0"),
        ("workers = true", r"line 1: workers: should be a whole number, without quotes"),
        ("[dns]\ntimeout = 0.0", r"line 2: \[dns\] timeout: should be greater than 0"),
        ("[dns]\nnameservers = ['192.0.2.1', 'ns.example']", r"line 2: \[dns\.nameservers\] 1: .*ns\.example"),
        ("[dns]\nnameservers = ['192.0.2.1:99999']", r"line 2: \[dns\.nameservers\] 0: .*99999"),
        ("[trust]\nnetworks = ['192.0.2.1/24']", r"line 2: \[trust\.networks\] 0: .*192\.0\.2\.1/24.* host bits"),
        ("[trust]\nforwarders = ['a b']", r"line 2: \[trust\.forwarders\] 0: 'a b' is neither a network nor a domain"),
        ("[trust]\nforwarders = ['helo:x']", r"\[trust\.forwarders\] 0: 'x' is not a domain"),
        ("[trust]\nforwarders = ['dkim:192.0.2.0/24']", r"0: '192\.0\.2\.0/24' is not a domain"),
        ("[trust]\nforwarders = ['name:a.example']", r"0: 'name:a\.example': unknown kind 'name', .*helo:.*dkim:"),
        ("[trust]\nforwarders = ['fe80::1::/64']", r"0: 'fe80::1::/64' is not a network"),
        ("[trust]\narc_sealers = ['192.0.2.0/24']", r"\[trust\.arc_sealers\] 0: .* is not a domain"),
        ("[trust]\narc_sealers = ['com']", r"\[trust\.arc_sealers\] 0: 'com' is not a domain"),
        ("socket = '/run/x'", r'line 1: socket: must be "unix:/path"'),
        ("socket = 'inet:0@127.0.0.1'", r"line 1: socket: must be"),
        ("socket_mode = '999'", r"line 1: socket_mode: must be three octal digits"),
        ("authserv_id = 'a b'", r"line 1: authserv_id: 'a b' is not a host name"),
        ("[sign]\nkey_mode = '0660'", r"line 2: \[sign\] key_mode: lets others change the key"),
        ("[sign]\nheaders = ['Received']", r"\[sign\.headers\] 0: Received changes on the way and cannot be signed"),
        ("[sign]\noversign = ['a b']", r"\[sign\.oversign\] 0: 'a b' is not the name of a header field"),
        (
            "[sign.table]\n'example.org' = ['s1']",
            r"the table names 's1' for example\.org, but there is no \[sign\.keys\.s1",
        ),
        ("[sign.table]\n'example.org' = []", r"\[sign\.table\] example\.org: should not be empty"),
        ("[sign.table]\n'*@example.org' = ['s1']", r"'\*@example\.org' is not of the form"),
        ("[sign.keys.s1]\nselector = 's1'\nfile = 'k.pem'", r"line 3: .*'k\.pem' is not the whole path of a file"),
        ("[sign.keys.s1]\nfile = '/k.pem'", r"\[sign\.keys\.s1\] selector: is missing"),
        ("[sign.keys.s1]\nselector = 's/1'\nfile = '/k.pem'", r"line 2: .*'s/1' is not a selector"),
        (
            "[sign.keys.a]\ndomain = 'e.org'\nselector = 's'\nfile = '/a'\n"
            "[sign.keys.b]\ndomain = 'E.org'\nselector = 's'\nfile = '/b'",
            r"b: s\._domainkey\.e\.org has another file already: /a",
        ),
        ("[sign.keys.a]\nselector = 's'\nfile = \"/k\\u0000\"", r"line 3: .*is not the whole path of a file"),
        ("[sign.keys.a]\ndomain = 'mx'\nselector = 's'\nfile = '/k'", r"line 2: .*'mx' cannot be d= of a signature"),
        ("[sign.keys.a]\ndomain = 'a_b.c.org'\nselector = 's'\nfile = '/k'", r"'a_b\.c\.org' cannot be d= of"),
        ("[sign]\nkey_mode = '0040'", r"line 2: \[sign\] key_mode: lets others change the key, or nobody read it"),
        (
            "[sign.table]\n'e.org' = ['a']\n'E.org' = ['b']\n"
            "[sign.keys.a]\nselector = 'a'\nfile = '/a'\n[sign.keys.b]\nselector = 'b'\nfile = '/b'",
            r"\[sign\] table: 'e\.org' and 'E\.org' are the same pattern",
        ),
        ("x = ", r"Invalid value \(at"),
        ("[dmarc.domains.'a..b']\non_reject = 'accept'", r"dmarc.domains.*'a\.\.b' is not a domain"),
        ("[dmarc.domains.'a.example']\non_rejekt = 'accept'", r"on_rejekt: unknown key"),
    ],
)
def test_bad_settings_are_named_with_their_place(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        settings_file.load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert re.search(expected, message), message
    assert "\n" not in message


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        settings_file.load(tmp_path / "missing.toml")
    (tmp_path / "bad.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(SettingsError, match="not UTF-8"):
        settings_file.load(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text("a = " + "[" * 10_000)
    with pytest.raises(SettingsError, match="lists in lists"):
        settings_file.load(tmp_path / "bad.toml")
    with pytest.raises(SettingsError, match="directory"):
        settings_file.load(tmp_path)
