"""A sender of reports that is killed at a step of its work: a forked process that sends itself SIGKILL.

A step is the call of a function of the sender, the outbox, the store or smtplib, or the return from one: between any
two of them something has been written, sent or committed, or not.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

_FILES = ("/mailcommon/outbox/", "/mailcommon/store/", "/authmilter/reports/aggregate", "/authmilter/reports/ledger")
_SMTP = {"connect", "ehlo", "mail", "rcpt", "data", "send", "getreply", "quit", "rset"}


def _is_step(frame: FrameType) -> bool:
    code = frame.f_code
    if code.co_filename.endswith("/smtplib.py"):
        return code.co_name in _SMTP
    if code.co_name.startswith("<") or code.co_name in {"clean", "identity", "_text"}:
        return False
    return any(part in code.co_filename for part in _FILES)


def run_and_die(work: Callable[[], object], step: int) -> bool:
    """Do `work` in a child that dies at its step number `step`; True if it did, False if it ended before."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            seen = 0

            def count(frame: FrameType, event: str, _argument: object) -> None:
                nonlocal seen
                if event in ("call", "return") and _is_step(frame):
                    if seen == step:
                        os.kill(os.getpid(), signal.SIGKILL)
                    seen += 1

            sys.setprofile(count)
            work()
            sys.setprofile(None)
            status = 0
        finally:
            os._exit(status)
    _, how = os.waitpid(pid, 0)
    if os.WIFSIGNALED(how):
        assert os.WTERMSIG(how) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(how) == 0, "the sender failed"
    return False
