"""A sender of reports that is killed at a step of its work: a forked process that sends itself SIGKILL.

A step is the call of a function that changes something outside of the process: a statement or the end of a transaction
in the store, a command or an answer of SMTP. What the process does between the return from one and the call of the next
only it knows: to die there is to die at the next step, so that nothing is left out.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

_STEPS = {
    "/smtplib.py": {"connect", "ehlo", "mail", "rcpt", "data", "send", "getreply", "quit"},
    "/store/sqlite.py": {"_transaction", "run", "many"},
    "/outbox/sending.py": {"_try", "send_due"},
}


def _is_step(frame: FrameType) -> bool:
    code = frame.f_code
    return any(code.co_filename.endswith(file) and code.co_name in names for file, names in _STEPS.items())


def run_and_die(work: Callable[[], object], step: int) -> bool:
    """Do `work` in a child that dies at its step number `step`; True if it did, False if it ended before."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            seen = 0

            def count(frame: FrameType, event: str, _argument: object) -> None:
                nonlocal seen
                if event == "call" and _is_step(frame):
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
