"""A log that is rotated, cut off, removed and made anew: each line once, whatever happens between two looks."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlspolicyd.tlsrpt.log_file import LogFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mail.log"


def append(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def begun(path: Path) -> LogFile:
    append(path, "old")
    log = LogFile(path)
    assert log.read() == []
    return log


def test_begins_at_the_end_and_follows(path: Path) -> None:
    log = begun(path)
    append(path, "a", "b")
    assert log.read() == ["a", "b"]
    assert log.read() == []


def test_a_line_is_given_when_it_is_whole(path: Path) -> None:
    log = begun(path)
    with path.open("a") as file:
        file.write("half")
    assert log.read() == []
    position = log.position
    append(path, " and whole")
    assert LogFile(path, position).read() == ["half and whole"]
    assert log.read() == ["half and whole"]


def test_a_file_that_is_not_there_yet(path: Path) -> None:
    log = LogFile(path)
    assert log.read() == []
    assert "cannot be opened" in log.fault
    append(path, "a")
    assert log.read() == ["a"]
    assert log.fault == ""


def test_renamed_and_made_anew(path: Path) -> None:
    log = begun(path)
    append(path, "a")
    path.rename(f"{path}.1")
    append(Path(f"{path}.1"), "late")  # who writes has not noticed yet
    append(path, "b")
    assert log.read() + log.read() == ["a", "late", "b"]


def test_renamed_and_not_yet_made_anew(path: Path) -> None:
    log = begun(path)
    path.rename(f"{path}.1")
    append(Path(f"{path}.1"), "a")
    assert log.read() == ["a"]
    append(path, "b")
    assert log.read() == ["b"]


def test_copied_and_cut_off(path: Path) -> None:
    log = begun(path)
    append(path, "a")
    assert log.read() == ["a"]
    shutil.copy(path, f"{path}.1")
    path.write_text("")
    append(path, "b")
    assert log.read() == ["b"]


def test_remembered_position(path: Path) -> None:
    log = begun(path)
    append(path, "a")
    assert log.read() == ["a"]
    append(path, "b")
    assert LogFile(path, log.position).read() == ["b"]


def test_rotated_while_nobody_read(path: Path) -> None:
    log = begun(path)
    append(path, "a")
    assert log.read() == ["a"]
    append(path, "b")
    path.rename(f"{path}.1")
    append(path, "c")
    again = LogFile(path, log.position)
    assert again.read() + again.read() == ["b", "c"]


def test_restarted_while_the_new_file_cannot_be_opened(path: Path) -> None:
    log = begun(path)
    path.rename(f"{path}.1")
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(path))  # cannot be opened, as a file without rights, but by root neither
        assert log.read() == []
        again = LogFile(path, log.position)
        assert again.read() == []
        path.unlink()
    append(path, "new")
    assert LogFile(path, again.position).read() == ["new"]


def test_rotated_twice_while_nobody_read(path: Path) -> None:
    """What is gone is gone; the file that is there is read from its beginning."""
    log = begun(path)
    path.unlink()
    append(path.with_name("other"), "")  # another file gets the number of the inode
    append(path, "c")
    again = LogFile(path, log.position)
    assert again.read() == ["c"]


@pytest.mark.parametrize("position", ["x", "1", ":", "1:2:3", "99999999999:0", "-1:-1"])
def test_a_position_that_says_nothing(path: Path, position: str) -> None:
    append(path, "a")
    LogFile(path, position).read()


def test_long_lines_are_cut(path: Path) -> None:
    log = begun(path)
    append(path, "x" * 3_000_000, "b")
    lines = []
    while more := log.read():
        lines += more
    assert [len(line) for line in lines] == [65_536, 1]


def test_octets_that_are_no_text(path: Path) -> None:
    log = begun(path)
    with path.open("ab") as file:
        file.write(b"\xff\xfe\x00\n")
    assert len(log.read()) == 1


@given(st.lists(st.sampled_from(["write", "read", "rename", "restart"]), max_size=40))
def test_each_line_once(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.touch()
        log = LogFile(path)
        found = list(log.read())
        written = []
        renamed = False
        for number, step in enumerate(steps):
            if step == "write":
                append(path, str(number))
                written.append(str(number))
            elif step == "rename" and not renamed and path.exists():
                path.rename(f"{path}.1")
                renamed = True
            elif step == "restart":
                position = log.position
                log.close()
                log = LogFile(path, position)
            elif step == "read":
                while lines := log.read():
                    found += lines
                # logrotate waits for a day, a reader for a second: it has seen the new file by then
                renamed = renamed and not path.exists()
        while lines := log.read():
            found += lines
        log.close()
        assert found == written
