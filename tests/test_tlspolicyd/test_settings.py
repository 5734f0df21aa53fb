"""Settings: the file shown to users equals the code, and what is wrong is said in one line with its place."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import pytest

from mailcommon.settings import SettingsError
from mailcommon.settings_text import as_toml
from tlspolicyd import settings as settings_file
from tlspolicyd.settings import Settings

CONF = Path(__file__).parents[2] / "conf" / "tlspolicyd.toml"
POSTFIX_TIMEOUT = 100.0  # seconds, socketmap_table(5)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tlspolicyd.toml"
    path.write_text(text)
    return path


def test_conf_shows_every_key_at_its_default() -> None:
    assert settings_file.load(CONF) == Settings()
    assert tomllib.loads(CONF.read_text()) == tomllib.loads(as_toml(Settings()))


def test_conf_explains_every_key() -> None:
    for before, line in itertools.pairwise(CONF.read_text().splitlines()):
        if re.match(r"\w+ = ", line):
            assert before.startswith("#") or re.match(r"\w+ = ", before), f"no comment above {line}"


def test_what_config_prints_is_the_same_settings(tmp_path: Path) -> None:
    text = 'socket = "inet:8461@[::1]"\n[dns]\nnameservers = ["127.0.0.1:53", "::1"]\n[sts]\nca_file = "/x\\"y\\\\z"\n'
    settings = settings_file.load(write(tmp_path, text))
    assert settings_file.load(write(tmp_path, as_toml(settings))) == settings


@pytest.mark.parametrize(
    "text",
    [
        "socket = 'unix:/run/x'",
        "socket = 'inet:8461@localhost'",
        "socket = 'inet:8461@127.0.0.1'",
        "socket = 'inet:8461@::1'",
        "cache.store = 'memory:'",
        "cache.store = 'redis://127.0.0.1:6379/1'",
        "cache.store = 'rediss://user:secret@cache.example/0'",
        "metrics.listen = '127.0.0.1:9320'",
        "metrics.listen = '[::1]:9320'",
        "metrics.listen = 'localhost:9320'",
        "sts.proxy = 'http://proxy.example:3128'",
        "sts.proxy = 'http://[2001:db8::1]:3128/'",
        "tlsrpt.socket = 'unix:/var/spool/postfix/tlspolicyd/tlsrpt.sock'",
        "tlsrpt.log = '/var/log/mail.log'",
        "tlsrpt.log = 'journal:'",
        "tlsrpt.log = 'journal:/var/log/journal/remote'",
        "tlsrpt.store = 'postgresql://reports@db.example/gatepost'",
        "tlsrpt.contact = 'tls-reports@Example.org'",
        "tlsrpt.exclude = ['a.example', 'Bücher.example']",
        "tlsrpt.delay = 0",
        "sts.wait = 0.0",
        "sts.wait = 3",
    ],
)
def test_good_settings(tmp_path: Path, text: str) -> None:
    settings_file.load(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('sokcet = "inet:1@127.0.0.1"', r"line 1: sokcet: unknown key, did you mean socket\?"),
        ("# c\n[sts]\nwiat = 3", r"line 3: \[sts\] wiat: unknown key, did you mean wait\?"),
        ("[dnae]\n", r"line 1: dnae: unknown key, did you mean dane\?"),
        ("[tlsrpt]\nsocket = '/x'", r"line 2: \[tlsrpt\] socket: must be"),
        ("[tlsrpt]\nsocket = 'inet:1@127.0.0.1'", r"line 2: \[tlsrpt\] socket: must be"),
        ("[tlsrpt]\nlog = 'mail.log'", r"line 2: \[tlsrpt\] log: must be"),
        ("[tlsrpt]\nstore = ''", r"line 2: \[tlsrpt\] store: must be"),
        ("[tlsrpt]\nstore = 'memory:'", r"line 2: \[tlsrpt\] store: must be"),
        ("[tlsrpt]\ncontact = 'nobody'", r"line 2: \[tlsrpt\] contact: must be an address"),
        ("[tlsrpt]\ncontact = 'a b@example.org'", r"line 2: \[tlsrpt\] contact: must be an address"),
        ('[tlsrpt]\norganization = "a\\nb"', r"line 2: \[tlsrpt\] organization: must be"),
        ("[tlsrpt]\nexclude = ['a b']", r"line 2: \[tlsrpt\.exclude\] 0: 'a b' is not a domain name"),
        ("[tlsrpt]\ndelay = 40000", r"line 2: \[tlsrpt\] delay: should be less than or equal to 36000"),
        ("[tlsrpt]\nkeep = 0", r"line 2: \[tlsrpt\] keep: should be greater than or equal to 1"),
        ("[tlsrpt]\nsmtp = '25'", r"line 2: \[tlsrpt\] smtp: must be"),
        ("[tlsrpt]\nsmtp = ''", r"line 2: \[tlsrpt\] smtp: must be"),
        (
            "[tlsrpt]\nsocket = 'unix:/x'\nlog = '/y'",
            r"line 1: tlsrpt: socket and log are not for use at the same time",
        ),
        ("socket = '/run/x'", r'line 1: socket: must be "unix:/path"'),
        ("socket = 'inet:0@127.0.0.1'", r"line 1: socket: must be"),
        ("socket = 'inet:1@a b'", r"line 1: socket: must be"),
        ("socket = 'inet:1@999.1.1.1'", r"line 1: socket: must be"),
        ("socket = 'unix:/" + "x" * 101 + "'", r"line 1: socket: must be"),
        ("socket_mode = '999'", r"line 1: socket_mode: must be three octal digits"),
        ("max_connections = 0", r"line 1: max_connections: should be greater than or equal to 1"),
        ("idle_timeout = 0.0", r"line 1: idle_timeout: should be greater than 0"),
        ("read_timeout = '1'", r"line 1: read_timeout: should be a number, without quotes"),
        ("log_level = 'loud'", r"line 1: log_level: should be 'debug', 'info', 'warning' or 'error'"),
        ("[dns]\nnameservers = ['ns.example']", r"line 2: \[dns\.nameservers\] 0: .*ns\.example"),
        ("[dns]\ntimeout = 0.0", r"line 2: \[dns\] timeout: should be greater than 0"),
        ("[sts]\nwait = 100.0", r"line 2: \[sts\] wait: should be less than or equal to 50"),
        ("[sts]\nhttps_port = 0", r"line 2: \[sts\] https_port: should be greater than or equal to 1"),
        ("[sts]\nproxy = 'https://proxy.example:1'", r"line 2: \[sts\] proxy: must be"),
        ("[sts]\nproxy = 'proxy.example:3128'", r"line 2: \[sts\] proxy: must be"),
        ("[sts]\nproxy = 'http://proxy.example:99999'", r"line 2: \[sts\] proxy: must be"),
        ("[sts]\nallow_private_addresses = 1", r"line 2: \[sts\] allow_private_addresses: should be true or false"),
        ("[dane]\nenabled = 'no'", r"line 2: \[dane\] enabled: should be true or false"),
        ("[cache]\nstore = 'sqlite:relative'", r"line 2: \[cache\] store: must be"),
        ("[cache]\nstore = 'memory:x'", r"line 2: \[cache\] store: must be"),
        ("[cache]\nentries = 0", r"line 2: \[cache\] entries: should be greater than or equal to 1"),
        ("[metrics]\nlisten = '9320'", r"line 2: \[metrics\] listen: must be"),
        ("[metrics]\nlisten = '::1:9320'", r"line 2: \[metrics\] listen: must be"),
        ("[metrics]\nlisten = '127.0.0.1:x'", r"line 2: \[metrics\] listen: 'x' is not a port"),
        ("[dns]\nnameservers = '127.0.0.1'", r"line 2: \[dns\] nameservers: should be a list"),
        ("[cache]\nstore = 'redis://host:port/0'", r"line 2: \[cache\] store: the port of .* is no number"),
        ("log_level = debug", r"Invalid value \(at line 1, .*\): a text needs quotes around it"),
        ("x = ", r"Invalid value \(at"),
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


def test_the_longest_wait_leaves_postfix_time() -> None:
    from tlspolicyd.answering import ANSWER_SECONDS

    most = Settings.model_fields["sts"].annotation
    assert most is not None
    bound = next(m.le for m in most.model_fields["wait"].metadata if hasattr(m, "le"))
    assert bound < ANSWER_SECONDS < POSTFIX_TIMEOUT
