"""A resolver that answers from a table, for tests of DKIM that need no DNS server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mailcommon.dns.answer import Answer, Mx, Status, Tlsa


class TxtTable:
    """TXT records by name: a text, several of them, or the `Status` of a look-up that gives none."""

    def __init__(self, table: Mapping[str, str | Sequence[str | bytes] | Status]) -> None:
        self._table = table
        self.asked: list[str] = []

    def txt(self, name: str) -> Answer[bytes]:
        self.asked.append(name)
        entry = self._table.get(name, Status.NXDOMAIN)
        if isinstance(entry, Status):
            return Answer(entry)
        texts = [entry] if isinstance(entry, str) else entry
        return Answer(Status.OK, tuple(text.encode() if isinstance(text, str) else text for text in texts), ttl=60)

    def query(self, rdtype: str, name: str) -> Answer[Any]:
        return self.txt(name) if rdtype == "TXT" else Answer(Status.NODATA)

    def start(self, rdtype: str, name: str) -> None:
        pass

    def a(self, name: str) -> Answer[str]:
        return self.query("A", name)

    def aaaa(self, name: str) -> Answer[str]:
        return self.query("AAAA", name)

    def mx(self, name: str) -> Answer[Mx]:
        return self.query("MX", name)

    def ptr(self, name: str) -> Answer[str]:
        return self.query("PTR", name)

    def tlsa(self, name: str) -> Answer[Tlsa]:
        return self.query("TLSA", name)
