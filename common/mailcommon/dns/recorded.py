"""DNS answers written down and played back: a verdict can be reproduced anywhere, with no network.

`recording` has the text form: `dump(resolver.records)` and `ReplayResolver(load(text).records)`.
"""

from __future__ import annotations

from typing import Any

from mailcommon.dns.answer import Answer, Status
from mailcommon.dns.cache import Key, key_of
from mailcommon.dns.recording import Recording, Records, dump, load
from mailcommon.dns.resolver import Resolver

__all__ = ["Recording", "RecordingResolver", "Records", "ReplayResolver", "dump", "load"]

_NOT_RECORDED: Answer[Any] = Answer(Status.SERVFAIL, detail="not in the recording")


class RecordingResolver(Resolver):
    """Asks `inner` and remembers every answer that was used, the first one for each question. Thread safe."""

    def __init__(self, inner: Resolver) -> None:
        self._inner = inner
        self._records: dict[Key, Answer[Any]] = {}

    def query(self, rdtype: str, name: str) -> Answer[Any]:
        """See Resolver."""
        return self._records.setdefault(key_of(rdtype, name), self._inner.query(rdtype, name))

    def start(self, rdtype: str, name: str) -> None:
        """See Resolver."""
        self._inner.start(rdtype, name)

    @property
    def records(self) -> Records:
        """What was used so far."""
        return dict(self._records)


class ReplayResolver(Resolver):
    """Answers from `records` alone; SERVFAIL with the detail "not in the recording" for what they do not have."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def query(self, rdtype: str, name: str) -> Answer[Any]:
        """See Resolver."""
        return self._records.get(key_of(rdtype, name), _NOT_RECORDED)
