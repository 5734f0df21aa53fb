"""Netstrings: octets in, strings out; strings in, octets out. No I/O.

A netstring is `LENGTH:STRING,` with the length in decimal digits. What comes may be cut anywhere.

Diagnostics: nothing raises. `Reader.fault` says why the octets cannot be read; a reader with a fault stays so.
Limits: a string of `limit` octets; a longer one is refused when its length is known, before it has come. What is kept
is one read of the caller's beyond that.
Standards: https://cr.yp.to/proto/netstrings.txt (a length has no leading zero), socketmap_table(5).
"""

from __future__ import annotations

LIMIT = 100_000  # socketmap_table(5): octets of a request or a reply

_COMPACT = 65_536  # octets that were read and are still held


class Reader:
    """Cuts a stream into its strings: `feed` what came, then call `next` until it gives None."""

    __slots__ = ("_buffer", "_digits", "_limit", "_start", "fault")

    def __init__(self, limit: int = LIMIT) -> None:
        self._buffer = bytearray()
        self._start = 0  # of the next netstring in the buffer
        self._limit = limit
        self._digits = len(str(limit))
        self.fault = ""

    @property
    def pending(self) -> int:
        """Octets that came and were not given out yet."""
        return len(self._buffer) - self._start

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The next whole string; None if there is none yet, or a fault."""
        buffer, start = self._buffer, self._start
        if self.fault or start == len(buffer):
            return None
        colon = buffer.find(b":", start, start + self._digits + 1)
        digits = bytes(buffer[start : colon if colon >= 0 else start + self._digits + 1])
        length = self._length(digits, ended=colon >= 0)
        if length is None or colon < 0:
            return None
        end = colon + 1 + length
        if len(buffer) <= end:
            return None
        if buffer[end] != 0x2C:
            self.fault = "no comma at the end of a netstring"
            return None
        string = bytes(buffer[colon + 1 : end])
        self._start = end + 1
        if self._start == len(buffer):
            buffer.clear()
            self._start = 0
        elif self._start > _COMPACT:
            del buffer[: self._start]
            self._start = 0
        return string

    def _length(self, digits: bytes, *, ended: bool) -> int | None:
        """The number; None if it is not whole yet, or if `fault` now says what is wrong with it."""
        if digits and not digits.isdigit():
            self.fault = "the length of a netstring is not a number"
        elif ended and not digits:
            self.fault = "a netstring without length"
        elif len(digits) > 1 and digits.startswith(b"0"):
            self.fault = "the length of a netstring has a leading zero"
        elif len(digits) > self._digits or int(digits or b"0") > self._limit:
            self.fault = f"a netstring of more than {self._limit} octets"
        else:
            return int(digits) if digits else None
        return None


def encode(string: bytes) -> bytes:
    """`string` as a netstring."""
    return b"%d:%b," % (len(string), string)
