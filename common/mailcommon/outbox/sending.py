"""One run of the sender: everything that is due, one after the other.

Diagnostics: `LeaseLost` if another host has taken over, `StoreFault`; what was handed over until then is kept.
Limits: one carrier at a time; a carrier gives up well within the lease's length.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mailcommon.outbox.headers import clean
from mailcommon.outbox.outbox import Outbox
from mailcommon.outbox.values import Delivery, Outcome, Report, Result, State
from mailcommon.store import Lease

_BATCH = 20  # deliveries begun in one transaction
_RENEW = 60.0  # seconds after which the lease is renewed between two of them


class Carrier(abc.ABC):
    """Takes reports to destinations of one scheme."""

    @abc.abstractmethod
    def hand_over(self, report: Report, delivery: Delivery, token: str) -> Outcome:
        """One attempt, within `seconds` of the lease; never raises for what the other side does."""

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """The run is over."""


@dataclass(slots=True)
class Sent:
    """What a run did: deliveries by what became of them."""

    done: int = 0  # sent or delivered
    later: int = 0
    failed: int = 0
    own_fault: str = ""  # what this host said when it took something not, for a reason of its own; the first

    def count(self, state: State) -> None:
        """One more."""
        match state:
            case State.SENT | State.DELIVERED:
                self.done += 1
            case State.FAILED:
                self.failed += 1
            case _:
                self.later += 1


def send_due(
    outbox: Outbox,
    lease: Lease,
    carriers: Mapping[str, Carrier],
    clock: Callable[[], float],
    tell: Callable[[Delivery, Report, State], None] = lambda _delivery, _report, _state: None,
) -> Sent:
    """Try each delivery that is due once; `tell` is called after each.

    carriers: by the scheme of the destinations, in lower case. clock: seconds since 1970.
    """
    sent = Sent()
    began = clock()
    last = 0
    try:
        while batch := outbox.due(began, _BATCH, last):
            last = batch[-1].id
            renewed = clock()
            tokens = outbox.begin_all(batch, lease, renewed)
            for delivery in batch:
                report = outbox.report(delivery.report_id)
                if report is None:
                    continue
                if not 0 <= clock() - renewed < _RENEW:
                    lease.renew()
                    renewed = clock()
                outcome = _try(carriers, delivery, report, tokens[delivery.id])
                state = outbox.finish(delivery, tokens[delivery.id], outcome, clock()) if outcome else State.SENT
                sent.count(state)
                if outcome and outcome.own:
                    sent.own_fault = sent.own_fault or clean(outcome.text)
                tell(delivery, report, state)
    finally:
        for carrier in carriers.values():
            carrier.close()
    return sent


def _try(carriers: Mapping[str, Carrier], delivery: Delivery, report: Report, token: str) -> Outcome | None:
    """None if an earlier attempt was taken."""
    if not token:
        return None
    carrier = carriers.get(delivery.destination.partition(":")[0].lower())
    if carrier is None:
        return Outcome(Result.REFUSED, "nothing can be sent to a destination of this kind")
    return carrier.hand_over(report, delivery, token)
