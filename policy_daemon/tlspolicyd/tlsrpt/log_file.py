"""A log file that grows, is rotated and outlives us -> its new lines, from a remembered position.

`read` gives what is new; `position` says how far that went, to be handed in the next time. Rotation by renaming (with
or without another file in the old place yet) and by truncating (logrotate's copytruncate) are both noticed. What was
written while nobody read is caught up with, from the renamed file too as long as it is beside the new one as NAME.1
or NAME.0.

Diagnostics: a file that is not there, or cannot be read, has no lines; `fault` says why.
Limits: 1 MB at a time; lines of 64 KB, of longer ones the beginning. Blocking: for a thread.
"""

from __future__ import annotations

import os
from pathlib import Path

_MOST = 1_048_576  # octets
_LONGEST = 65_536
_NEXT = "next"  # position: the file that comes, from its beginning


class LogFile:
    """One file. `position`: what a former one had, "" = begin at the present end."""

    def __init__(self, path: Path, position: str = "") -> None:
        self.fault = ""
        self._path = path
        self._descriptor: int | None = None
        self._inode = 0
        self._offset = 0
        self._rest = b""
        self._skipping = False  # the rest of a line that was too long
        self._resume = position
        self._begun = position == _NEXT

    @property
    def position(self) -> str:
        """After the last line that `read` gave: "inode:offset"; "next" if all of the next file is new."""
        if self._descriptor is None:
            return self._resume or (_NEXT if self._begun else "")
        return f"{self._inode}:{self._offset - len(self._rest)}"

    def read(self) -> list[str]:
        """The whole lines that are new, without their ends."""
        try:
            if self._descriptor is None and not self._open():
                return []
            lines = self._read_some()
            # whoever writes may not have noticed yet that the file was renamed: once more, then the new one
            if lines is None and self._is_another() and (lines := self._read_some()) is None:
                self._close()
                self._resume, self._begun = "", True
                if self._open():
                    lines = self._read_some()
        except OSError as fault:
            self.fault = fault.strerror or str(fault)
            self._close()
            return []
        self.fault = ""
        return lines or []

    def close(self) -> None:
        """Let go of the file."""
        self._close()

    def _open(self) -> bool:
        inode, offset = _parse(self._resume)
        candidates = [self._path]
        if inode:
            candidates += [Path(f"{self._path}.1"), Path(f"{self._path}.0")]
        for path in candidates:
            descriptor = _open(path)
            if descriptor is None:
                continue
            found = os.fstat(descriptor)
            if not inode or found.st_ino == inode:
                # at the first start of all nothing of the past is told; of a file that took another's place all is
                first = 0 if self._begun else found.st_size
                known = offset if offset <= found.st_size else 0
                self._take(descriptor, found.st_ino, known if inode else first)
                return True
            os.close(descriptor)
        if inode:
            # what was remembered is gone: all of the present file is new
            self._resume, self._begun = "", True
            return self._open()
        self.fault = f"{self._path} cannot be opened"
        self._begun = True  # a file that is made from now on is new altogether
        return False

    def _take(self, descriptor: int, inode: int, offset: int) -> None:
        self._descriptor, self._inode, self._offset = descriptor, inode, offset
        self._rest = b""
        self._skipping = False
        os.lseek(descriptor, offset, os.SEEK_SET)

    def _read_some(self) -> list[str] | None:
        """At least one line, if there is a whole one; None at the end of the file."""
        assert self._descriptor is not None
        if os.fstat(self._descriptor).st_size < self._offset:
            self._take(self._descriptor, self._inode, 0)
        while data := os.read(self._descriptor, _MOST):
            if lines := self._split(data):
                return lines
        return None

    def _split(self, data: bytes) -> list[str]:
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        if whole and self._skipping:
            whole, self._skipping = whole[1:], False
        if len(self._rest) > _LONGEST:
            if not self._skipping:
                whole.append(self._rest[:_LONGEST])
            self._rest, self._skipping = b"", True
        return [line[:_LONGEST].decode("utf-8", "replace") for line in whole]

    def _is_another(self) -> bool:
        """Whether another file stands in the place of ours."""
        try:
            return self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        if self._descriptor is not None:
            self._resume = self.position
            os.close(self._descriptor)
            self._descriptor = None


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _parse(position: str) -> tuple[int, int]:
    inode, _, offset = position.partition(":")
    return (int(inode), int(offset)) if inode.isdigit() and offset.isdigit() else (0, 0)
