"""What a URI of a record leads to, and who gets it: the shape of both. No I/O."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from authmilter.bimi.evidence.mark import Mark
from authmilter.bimi.indicator import Indicator
from authmilter.bimi.uri import Uri


class Kind(enum.Enum):
    """What is expected behind a URI."""

    INDICATOR = "indicator"
    EVIDENCE = "evidence"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is nothing to use."""

    reason: str
    temporary: bool = False  # another try may help


Asset = Indicator | Mark | Fault


class Source(Protocol):
    """Gets what URIs lead to and says whether it is as it must be; remembers both."""

    def start(self, kind: Kind, uri: Uri) -> None:
        """Begin, so that `get` waits less. Returns at once."""
        ...

    def get(self, kind: Kind, uri: Uri, seconds: float) -> Asset:
        """The thing itself, after at most `seconds`; what takes longer goes on for the next one who asks."""
        ...

    def close(self) -> None:
        """Give up what is under way. Returns at once."""
        ...


class Nowhere:
    """A source for where there is no network."""

    def start(self, kind: Kind, uri: Uri) -> None:
        """See Source."""

    def get(self, kind: Kind, uri: Uri, seconds: float) -> Asset:  # noqa: ARG002 - nothing is waited for
        """See Source."""
        return Fault("nothing is fetched here", temporary=True)

    def close(self) -> None:
        """See Source."""
