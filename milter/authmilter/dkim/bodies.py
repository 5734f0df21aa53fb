"""The body hashes that all signatures of one message need, DKIM's and ARC's, taken from the one stream.

    bodies = Bodies()
    bodies.want(relaxed=True, limit=None) ...
    bodies.update(chunk) ...
    digest, length = bodies.digest(relaxed=True, limit=None)

Limits: the body is hashed at most twice, once per canonicalization (RFC 6376 §3.4), and never kept; each further
limit (l=) costs one more hash of so many octets: who wants them bounds their number.
"""

from __future__ import annotations

from authmilter.dkim.body_hash import BodyHash


class Bodies:
    """The canonical forms of one body."""

    def __init__(self) -> None:
        self._wanted: dict[bool, set[int | None]] = {}
        self._hashes: dict[bool, BodyHash] = {}
        self._open: list[BodyHash] | None = None

    def want(self, relaxed: bool, limit: int | None) -> None:
        """Ask for one hash, of the first `limit` octets or of all; before the body begins."""
        assert self._open is None, "the body has begun"
        self._wanted.setdefault(relaxed, set()).add(limit)

    @property
    def wants_body(self) -> bool:
        """False as soon as no further octet of the body matters."""
        return bool(self._wanted if self._open is None else self._open)

    def update(self, chunk: bytes) -> None:
        """Take the next octets of the body, lines ended by CRLF, cut anywhere."""
        if self._open is None:
            self._begin()
        if not self._open:
            return
        for hashed in self._open:
            hashed.update(chunk)
        if any(hashed.sated for hashed in self._open):
            self._open = [hashed for hashed in self._open if not hashed.sated]

    def digest(self, relaxed: bool, limit: int | None) -> tuple[bytes, int]:
        """End the body and give one of the hashes wanted, and the length of that canonical form in octets."""
        if self._open is None:
            self._begin()
        hashed = self._hashes[relaxed]
        length = hashed.close()
        return hashed.digest(limit), length

    def _begin(self) -> None:
        self._hashes = {relaxed: BodyHash(relaxed, limits) for relaxed, limits in self._wanted.items()}
        self._open = list(self._hashes.values())
