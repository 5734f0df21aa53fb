"""A `Resolver` that answers TXT from a table of octets of any size, and everything else from a zone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mailcommon.dns.answer import Answer, Status
from tests.support.zone_resolver import ZoneResolver

Text = str | bytes


class TxtResolver(ZoneResolver):
    """`texts`: by name, one TXT record or several. `queries` and `started` are those of `ZoneResolver`."""

    def __init__(self, texts: Mapping[str, Text | Sequence[Text]], zone: str = "") -> None:
        super().__init__(zone)
        self._texts = {
            name: tuple(_octets(text) for text in ([value] if isinstance(value, str | bytes) else value))
            for name, value in texts.items()
        }

    def query(self, rdtype: str, name: str) -> Answer[Any]:
        """See Resolver."""
        texts = self._texts.get(name.lower().removesuffix("."))
        if texts is None:
            return super().query(rdtype, name)
        self.queries.append((rdtype, name.lower()))
        if rdtype != "TXT":
            return Answer(Status.NODATA)
        return Answer(Status.OK, texts, 300)


def _octets(text: Text) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
