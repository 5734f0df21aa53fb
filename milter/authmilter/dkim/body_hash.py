"""The body of one message as signatures see it (RFC 6376 §3.4.3, §3.4.4), hashed while its chunks arrive.

Takes chunks cut anywhere, gives the SHA-256 of the canonical body, whole or up to some lengths (l=), and its length.

Limits: memory is that of a few pieces of 64 KB whatever the body holds; time is linear in its length.
Security: lone CR and lone LF are neither white space nor the end of a line; only SP and HTAB are white space.
"""

from __future__ import annotations

import hashlib

from authmilter.dkim.header_hash import squeeze

PIECE = 65_536  # octets worked on at once: what an MTA sends in one milter packet

_CRLF = b"\r\n"
_EMPTY_LINES = _CRLF * 4096


class _Prefix:
    """The hash of the first `limit` octets of the canonical body; None: of all of it."""

    __slots__ = ("_hash", "_left")

    def __init__(self, limit: int | None) -> None:
        self._hash = hashlib.sha256()
        self._left = limit

    def update(self, data: bytes) -> None:
        if self._left is None:
            self._hash.update(data)
        elif self._left:
            self._hash.update(data[: self._left])
            self._left -= min(self._left, len(data))

    def digest(self) -> bytes:
        return self._hash.digest()


class BodyHash:
    """One canonicalization of one body, and its hashes up to the lengths asked for."""

    def __init__(self, relaxed: bool, limits: set[int | None]) -> None:
        self._relaxed = relaxed
        self._prefixes = {limit: _Prefix(limit) for limit in limits}
        self._sinks = tuple(self._prefixes.values())
        self._held = b""  # the end of the last piece that the next octet decides on: blank, CR or both
        self._empty_lines = 0  # not given to the hash yet: they count only if something follows
        self._length = 0
        self._closed = False

    @property
    def sated(self) -> bool:
        """True if no further octet can change a hash or what is known of the length."""
        return all(limit is not None and limit < self._length for limit in self._prefixes)

    def update(self, chunk: bytes) -> None:
        """Take the next octets of the body."""
        if len(chunk) <= PIECE:
            self._take(chunk)
            return
        view = memoryview(chunk)
        for start in range(0, len(chunk), PIECE):
            self._take(bytes(view[start : start + PIECE]))

    def close(self) -> int:
        """End the body and give the length of its canonical form in octets. Further calls give the same."""
        if not self._closed:
            self._closed = True
            # RFC 6376 §3.4.4: white space at the end of the last line goes, a lone CR stays
            rest = b"" if self._relaxed and self._held == b" " else self._held
            if rest:
                self._write_lines(rest)
            # RFC 6376 §3.4.3, §3.4.4: one CRLF ends the body; nothing becomes CRLF in simple, stays nothing in relaxed
            if self._length or not self._relaxed:
                self._write(_CRLF)
        return self._length

    def digest(self, limit: int | None) -> bytes:
        """Give the SHA-256 of the first `limit` octets, one of the limits given at the start; after `close`."""
        return self._prefixes[limit].digest()

    def _take(self, piece: bytes) -> None:
        data = self._held + piece if self._held else piece
        if self._relaxed:
            data = squeeze(data).replace(b" \r\n", _CRLF)  # RFC 6376 §3.4.4: no white space at the end of a line
        hold = 1 if data.endswith(b"\r") else 0
        if self._relaxed and data.endswith((b" ", b" \r")):
            hold += 1
        end = len(data) - hold
        self._held = data[end:]
        self._write_lines(data[:end])

    def _write_lines(self, data: bytes) -> None:
        """Pass on all but the empty lines at the end (RFC 6376 §3.4.3, §3.4.4), which are counted."""
        ends = data[len(data.rstrip(_CRLF)) :].replace(_CRLF, b"$")  # a lone CR or LF stays what it is
        empty_lines = len(ends) - len(ends.rstrip(b"$"))
        content = data[: len(data) - 2 * empty_lines] if empty_lines else data
        if content:
            while self._empty_lines:
                count = min(self._empty_lines, 4096)
                self._write(_EMPTY_LINES[: 2 * count])
                self._empty_lines -= count
            self._write(content)
        self._empty_lines += empty_lines

    def _write(self, data: bytes) -> None:
        self._length += len(data)
        for sink in self._sinks:
            sink.update(data)
