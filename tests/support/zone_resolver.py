"""A `Resolver` over a zone in text form: no network, no threads, every query written down.

One record a line: `name ttl IN TYPE data`, names absolute with or without a final dot; `;` begins a comment line.
A line `name TYPE servfail` (or timeout, or bogus) makes that query fail. A name exists if it, or a name below it, is
in the zone.
"""

from __future__ import annotations

import re
from typing import Any

from mailcommon.dns.answer import Answer, Mx, Status, Tlsa
from mailcommon.names import to_alabel

_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_ESCAPE = re.compile(r"\\([0-9]{3}|.)")
_FAULTS = {"servfail": Status.SERVFAIL, "timeout": Status.TIMEOUT, "bogus": Status.BOGUS}
_MAX_ALIASES = 8


class ZoneResolver:
    """Every query waits for nothing. `queries` has (type, name) of each `query` in order, `started` of each `start`."""

    def __init__(self, zone: str = "") -> None:
        self.queries: list[tuple[str, str]] = []
        self.started: list[tuple[str, str]] = []
        self._records: dict[tuple[str, str], list[Any]] = {}
        self._ttls: dict[tuple[str, str], int] = {}
        self._faults: dict[tuple[str, str], Status] = {}
        self._names: set[str] = set()
        for line in zone.splitlines():
            if line.strip() and not line.strip().startswith(";"):
                self._add(line.strip())

    def _add(self, line: str) -> None:
        words = line.split(None, 4)
        name = _canonical(words[0])
        if len(words) == 3:
            self._faults[words[1].upper(), name] = _FAULTS[words[2].lower()]
            return
        rdtype = words[3].upper()
        self._records.setdefault((rdtype, name), []).append(_data(rdtype, words[4]))
        self._ttls[rdtype, name] = int(words[1])
        while name:
            self._names.add(name)
            name = name.partition(".")[2]

    def query(self, rdtype: str, name: str) -> Answer[Any]:
        """The answer that a recursive resolver would give."""
        name = _canonical(name)
        self.queries.append((rdtype, name))
        if to_alabel(name) is None:
            return Answer(Status.NXDOMAIN, detail="not a DNS name")
        alias = False
        for _ in range(_MAX_ALIASES):
            if fault := self._faults.get((rdtype, name)):
                return Answer(fault, detail=fault.value, alias=alias)
            if records := self._records.get((rdtype, name)):
                return Answer(Status.OK, tuple(records), self._ttls[rdtype, name], alias=alias)
            target = self._records.get(("CNAME", name))
            if not target:
                return Answer(Status.NODATA if name in self._names else Status.NXDOMAIN, alias=alias)
            alias, name = True, target[0]
        return Answer(Status.SERVFAIL, detail="alias loop", alias=True)

    def start(self, rdtype: str, name: str) -> None:
        self.started.append((rdtype, _canonical(name)))

    def txt(self, name: str) -> Answer[bytes]:
        return self.query("TXT", name)

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


def _canonical(name: str) -> str:
    return (to_alabel(name) or name.lower()).removesuffix(".")


def _data(rdtype: str, text: str) -> Any:
    if rdtype == "TXT":
        strings = [match[1] if match[1] is not None else match[2] for match in _STRING.finditer(text)]
        return "".join(_ESCAPE.sub(_unescape, string) for string in strings).encode("latin-1")
    if rdtype == "MX":
        preference, host = text.split()
        return Mx(int(preference), _canonical(host))
    if rdtype == "TLSA":
        usage, selector, mtype, data = text.split(None, 3)
        return Tlsa(int(usage), int(selector), int(mtype), bytes.fromhex(data))
    return text.strip() if rdtype in ("A", "AAAA") else _canonical(text.strip())


def _unescape(match: re.Match[str]) -> str:
    return chr(int(match[1])) if match[1].isdigit() and len(match[1]) == 3 else match[1]
