"""What hinders a daemon at its start is said in one line: places that a user may not see, write to or read."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from mailcommon import privileges
from mailcommon.privileges import StartError, become, require_free
from tests.support.requirements import require
from tlspolicyd.listening import listen
from tlspolicyd.settings import Settings

NOBODY = 65534


def fault_of(work: Callable[[], object]) -> str:
    """The text of the StartError that `work` ends with, or what else it ends with."""
    try:
        work()
    except StartError as fault:
        return str(fault)
    except BaseException as fault:  # noqa: BLE001 - the child must end here
        return f"not a StartError: {fault!r}"
    return "nothing"


def in_child(work: Callable[[], object]) -> str:
    """`fault_of` in a process of its own, which may become another user."""
    require("" if os.geteuid() == 0 else "only root can become another user")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, fault_of(work).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        return pipe.read()


def test_a_place_that_this_user_may_not_see(tmp_path: Path) -> None:
    def work() -> None:
        os.setuid(NOBODY)
        require_free(tmp_path / "closed" / "socket")

    (tmp_path / "closed").mkdir()
    tmp_path.chmod(0o700)
    assert "Permission denied: may this user look there?" in in_child(work)


def test_a_socket_left_behind_that_this_user_may_not_remove(tmp_path: Path) -> None:
    folder = Path("/tmp") / f"gatepost-left-{os.getpid()}"
    folder.mkdir()
    try:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(folder / "s"))
        (folder / "s").chmod(0o777)

        def work() -> None:
            os.setuid(NOBODY)
            listen(Settings(socket=f"unix:{folder}/s"))

        assert "Permission denied: may this user write there?" in in_child(work)
    finally:
        (folder / "s").unlink()
        folder.rmdir()


def test_a_user_who_cannot_read_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "lib").mkdir()
    monkeypatch.setattr(privileges, "_PYTHON", [str(tmp_path / "lib"), str(tmp_path / "none")])
    assert f"user: nobody cannot read {tmp_path}/lib: " in in_child(lambda: become("nobody"))
