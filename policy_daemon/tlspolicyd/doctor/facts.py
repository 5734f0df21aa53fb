"""What the rules look at: frozen, read by `read`."""

from __future__ import annotations

from dataclasses import dataclass

from mailcommon.doctor.paths import Identity, Route
from mailcommon.doctor.postfix import Place, Postfix
from mailcommon.doctor.reporting import SendingFacts
from mailcommon.doctor.stores import StoreFacts


@dataclass(frozen=True, slots=True)
class CaFile:
    """A file with certificates of authorities, as it is."""

    path: str
    certificates: int  # that can be read in it
    fault: str = ""  # why it cannot be read


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Postfix and what of the settings concerns it."""

    postfix: Postfix
    ours: Place  # where tlspolicyd listens
    site_level: str
    dane: bool  # [dane] enabled
    postfix_ca: CaFile | None = None  # smtp_tls_CAfile, None if there is none
    postfix_user: Identity | None = None  # mail_owner


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """[tlsrpt], and what it rests on."""

    socket: str
    log: str
    contact: str
    runs_as: Identity | None = None
    log_route: Route | None = None  # to a log that is a file
    queue_length: int | None = None  # net.unix.max_dgram_qlen
    store: StoreFacts | None = None
    sending: SendingFacts | None = None


@dataclass(frozen=True, slots=True)
class PageFacts:
    """The metrics page."""

    listen: str  # "HOST:PORT", "" for none
    fault: str = ""  # why it is not there
    runs: bool = True  # the daemon answers
