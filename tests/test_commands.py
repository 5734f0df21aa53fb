"""What both commands have in common: exit statuses, no colours where nobody sees them, completion in a shell."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
MESSAGE = b"""\
From: a@b.example
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example
Original-Envelope-Id: x

Final-Recipient: rfc822; reports@shop.example
Action: failed
Status: 5.1.1

--b--
"""  # to `check` a message, to `report bounce` a bounce
CHECK = ("check", "--client-ip", "127.0.0.1", "--helo", "x.example", "--mail-from", "a@b.example")
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")


def run(program: str, *words: str | Path, **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [BIN / program, *words], input=MESSAGE, capture_output=True, timeout=30, env={**os.environ, **env}
    )


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Path]:
    texts = {
        "good": "",
        "unknown": "sokcet = 'x'",
        "no-store": f'[reports]\nstore = "sqlite:{tmp_path}/no/reports.db"\nemail = "reports@b.example"',
        "no-policies": f'[cache]\nstore = "sqlite:{tmp_path}/no/policies.db"',
        "no-key": f'[sign.keys.x]\ndomain = "b.example"\nselector = "s"\nfile = "{tmp_path}/no.pem"',
        "no-resolver": '[dns]\nnameservers = ["127.0.0.1:1"]\ntimeout = 0.2',
        "no-folder": f'socket = "unix:{tmp_path}/no/socket"',
    }
    files = {name: tmp_path / f"{name}.toml" for name in texts}
    for name, text in texts.items():
        files[name].write_text(text)
    return files


STATUSES = [
    ("authmilter", ("--help",), "", 0),
    ("authmilter", ("config",), "good", 0),
    ("authmilter", (*CHECK, "-"), "good", 0),
    ("authmilter", ("key", "check"), "no-key", 1),
    ("authmilter", ("report", "list"), "no-store", 1),
    ("authmilter", ("report", "show", "x"), "no-store", 1),
    ("authmilter", ("report", "send"), "no-store", 1),
    ("authmilter", ("report", "bounce"), "no-store", 75),
    ("authmilter", ("no-such-command",), "", 2),
    ("authmilter", ("config", "--no-such-option"), "", 2),
    ("authmilter", (*CHECK, "/no/such/message"), "good", 2),
    ("authmilter", ("check", "-"), "good", 2),
    ("authmilter", ("report", "list"), "good", 2),
    ("authmilter", ("config",), "unknown", 2),
    ("authmilter", ("serve",), "unknown", 2),
    ("authmilter", ("serve",), "no-folder", 2),
    ("tlspolicyd", ("--help",), "", 0),
    ("tlspolicyd", ("config",), "good", 0),
    ("tlspolicyd", ("query", "b.example"), "no-resolver", 0),
    ("tlspolicyd", ("cache", "list"), "no-policies", 1),
    ("tlspolicyd", ("cache", "forget", "b.example"), "no-policies", 1),
    ("tlspolicyd", ("cache", "refresh", "b.example"), "no-policies", 1),
    ("tlspolicyd", ("no-such-command",), "", 2),
    ("tlspolicyd", ("query",), "good", 2),
    ("tlspolicyd", ("cache", "forget"), "good", 2),
    ("tlspolicyd", ("config",), "unknown", 2),
    ("tlspolicyd", ("serve",), "unknown", 2),
    ("tlspolicyd", ("serve",), "no-folder", 2),
]


@pytest.mark.parametrize(
    ("program", "words", "file", "status"),
    STATUSES,
    ids=lambda value: str(value)[:30],
)
def test_exit_status(program: str, words: tuple[str, ...], file: str, status: int, settings: dict[str, Path]) -> None:
    done = run(program, *words, *(("--config", settings[file]) if file else ()))
    assert done.returncode == status, done
    assert b"Traceback" not in done.stderr
    assert bool(done.stderr.strip()) or status == 0 or words[:2] == ("key", "check"), "it says why"


PRINTED = [
    ("authmilter", ("--help",), "good"),
    ("authmilter", ("config",), "good"),
    ("authmilter", ("report", "list"), "store"),
    ("authmilter", (*CHECK, "-"), "good"),
    ("tlspolicyd", ("query", "b.example"), "no-resolver"),
]


@pytest.fixture
def store(settings: dict[str, Path], tmp_path: Path) -> None:
    from authmilter.reports.sending import SCHEMAS
    from mailcommon.store import open_store

    url = f"sqlite:{tmp_path}/reports.db"
    made = open_store(url, SCHEMAS)
    with made.write():
        pass
    made.close()
    settings["store"] = tmp_path / "store.toml"
    settings["store"].write_text(f'[reports]\nstore = "{url}"\nemail = "reports@b.example"')


def on_a_terminal(program: str, *words: str | Path, statuses: tuple[int, ...] = (0,), **env: str) -> bytes:
    """What the command prints to a terminal of its own."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [BIN / program, *words],
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", **env},
    )
    os.close(theirs)
    assert child.stdin is not None
    with child.stdin as pipe:
        pipe.write(MESSAGE)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # EIO: nobody writes any more
            part = b""
        if not part:
            break
        shown += part
    os.close(ours)
    assert child.wait(30) in statuses, shown
    return shown


def colours(shown: bytes) -> set[bytes]:
    """The codes of colours; bold and italic are none (https://no-color.org)."""
    codes = {code for match in COLOUR.findall(shown) for code in match[2:-1].split(b";")}
    return {code for code in codes if code[:1] in b"349" and len(code) == 2}


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("program", "words", "file"), PRINTED, ids=lambda value: str(value)[:30])
def test_nothing_but_text_goes_into_a_pipe(
    program: str, words: tuple[str, ...], file: str, settings: dict[str, Path]
) -> None:
    option = () if words == ("--help",) else ("--config", settings[file])
    done = run(program, *words, *option, TERM="xterm-256color")
    assert done.returncode == 0, done
    assert done.stdout
    assert b"\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("program", ["authmilter", "tlspolicyd"])
def test_what_doctor_finds_is_text_alone_in_a_pipe(program: str, settings: dict[str, Path]) -> None:
    done = run(program, "doctor", "--config", settings["no-resolver"], TERM="xterm-256color")
    assert done.returncode in (1, 2), "there is no Postfix, or none that knows of this file"
    assert done.stdout
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("program", "words", "file"), PRINTED, ids=lambda value: str(value)[:30])
def test_no_color_is_heeded_on_a_terminal(
    program: str, words: tuple[str, ...], file: str, settings: dict[str, Path]
) -> None:
    option = () if words == ("--help",) else ("--config", settings[file])
    shown = on_a_terminal(program, *words, *option, NO_COLOR="1")
    assert not colours(shown), shown


@pytest.mark.parametrize("program", ["authmilter", "tlspolicyd"])
def test_doctor_has_colours_on_a_terminal_unless_no_color_is_set(program: str, settings: dict[str, Path]) -> None:
    words = ("doctor", "--config", settings["no-resolver"])
    assert colours(on_a_terminal(program, *words, statuses=(1, 2), NO_COLOR=""))
    assert not colours(on_a_terminal(program, *words, statuses=(1, 2), NO_COLOR="1"))


def test_the_demonstration_has_colours_on_a_terminal_alone() -> None:
    code = "from demo.show import make_console; make_console().print('[green]x[/]')"
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=True)
    assert plain.stdout == b"x\n"


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("authmilter ch", {"check"}),
        ("authmilter key ", {"check", "new"}),
        ("authmilter report ", {"bounce", "list", "send", "show"}),
        ("authmilter check --rec", {"--record-dns"}),
        ("authmilter key new --type ", {"rsa", "ed25519", "both"}),
        ("tlspolicyd cache ", {"forget", "list", "refresh"}),
    ],
)
def test_bash_completes(line: str, offered: set[str], tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "tools.completions", tmp_path], check=True, timeout=30)
    program = line.split()[0]
    script = tmp_path / "bash-completion" / "completions" / program
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    code = (
        f'source "{script}"; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _{program}_completion {program};'
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", code], capture_output=True, text=True, timeout=30, env={"PATH": f"{BIN}:/usr/bin:/bin"}
    )
    assert set(done.stdout.split()) == offered, done.stderr
    assert (tmp_path / "zsh" / "vendor-completions" / f"_{program}").read_text().startswith(f"#compdef {program}")
    assert (tmp_path / "fish" / "vendor_completions.d" / f"{program}.fish").exists()
