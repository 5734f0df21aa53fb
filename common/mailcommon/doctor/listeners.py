"""As whom does it run, who listens on a Unix socket? Read from /proc (proc(5)), for which it takes root.

Who opened the socket says too little: systemd opens sockets for others, and a daemon gives up root's rights afterwards.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

_PROC = Path("/proc")
_ACCEPTS = 0x10000  # __SO_ACCEPTCON in the column "Flags" of /proc/net/unix
_INIT = "1"  # systemd keeps the sockets that it hands over


def listener_uid(path: Path) -> int | None:
    """The effective user of who listens at `path`; root's if one of several is root; None if it cannot be told."""
    inode = _inode(path)
    if inode is None:
        return None
    wanted = f"socket:[{inode}]"
    found = []
    for process in _PROC.iterdir():
        if not process.name.isdigit() or process.name == _INIT:
            continue
        with contextlib.suppress(OSError, ValueError, StopIteration):  # it has ended, or may not be looked at
            if any(str(link.readlink()) == wanted for link in (process / "fd").iterdir()):
                lines = (process / "status").read_text().splitlines()
                found.append(int(next(line for line in lines if line.startswith("Uid:")).split()[2]))
    return min(found, default=None)


def _inode(path: Path) -> str | None:
    try:
        lines = (_PROC / "net/unix").read_text(errors="surrogateescape").splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        fields = line.split(None, 7)
        if len(fields) == 8 and fields[7] == str(path) and int(fields[3], 16) & _ACCEPTS:
            return fields[6]
    return None
