"""The outbox itself: what is made, under way and done, in a store. No mail and no network here.

Times are seconds since 1970 and come from the caller.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace

from mailcommon.outbox.headers import clean
from mailcommon.outbox.resting import judge, resting
from mailcommon.outbox.values import Delivery, Limits, Outcome, Report, Result, State
from mailcommon.store import Lease, Row, Store, Transaction

_REPORT = "id, kind, domain, begins, ends, filename, payload, part, made_at, count"
_DELIVERY = "id, report, place, destination, state, attempts, next_at, until, done_at, note"
_DELIVERY_COLUMNS = ", ".join(f"d.{name}" for name in _DELIVERY.split(", "))
_DONE = {
    Result.SENT: State.SENT,
    Result.DELIVERED: State.DELIVERED,
    Result.REFUSED: State.FAILED,
}


class Outbox:
    """See the package."""

    def __init__(self, store: Store, limits: Limits = Limits(), *kinds: str) -> None:  # noqa: B008 - frozen
        """`store` was opened with `SCHEMA` among its schemas.

        kinds: of the reports that are sent and pruned here, none = all. Two programs may share a store.
        """
        self.store = store
        self.limits = limits
        self._kinds = kinds
        marks = ", ".join("?" * len(self._kinds))
        self._mine = f"r.kind IN ({marks})" if kinds else "1 = 1"
        self._due = (
            "FROM outbox_deliveries d JOIN outbox_reports r ON r.id = d.report"
            f" WHERE d.state IN ('waiting', 'handing') AND NOT d.next_at BETWEEN ? AND ? AND {self._mine}"
        )

    def add(self, tx: Transaction, report: Report, destinations: Sequence[str], now: float) -> bool:
        """Put a report in, as part of `tx`; False if there is one of the same kind, domain, time and part already."""
        added = tx.run(
            "INSERT INTO outbox_reports (id, kind, domain, begins, ends, part, filename, count, made_at, bytes,"
            " payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (kind, domain, begins, ends, part) DO NOTHING",
            report.id,
            report.kind,
            report.domain,
            report.begins,
            report.ends,
            report.part,
            report.filename,
            report.count,
            now,
            len(report.payload),
            report.payload,
        )
        if not added:
            return False
        resting = self.resting(tx, destinations, now)
        for place, destination in enumerate(destinations):
            rests = destination in resting
            tx.run(
                "INSERT INTO outbox_deliveries (report, place, destination, state, attempts, next_at, until, done_at,"
                " note) VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?)",
                report.id,
                place,
                destination,
                State.RESTING if rests else State.WAITING,
                now,
                now + self.limits.seconds,
                now if rests else None,
                "the destination has failed too often" if rests else "",
            )
        return True

    def resting(self, tx: Transaction, destinations: Iterable[str], now: float) -> set[str]:
        """Which of the destinations get nothing for the moment."""
        return resting(tx, destinations, now, self.limits)

    def due(self, now: float, limit: int = 100, after: int = 0) -> list[Delivery]:
        """What is to be tried now, in the order in which it was made; what a dead sender left behind is among it.

        after: the number of the last delivery that was had before.
        """
        with self.store.read() as tx:
            rows = tx.all(
                f"SELECT {_DELIVERY_COLUMNS} {self._due} AND d.id > ? ORDER BY d.id LIMIT ?",
                *self._not_due(now),
                *self._kinds,
                after,
                limit,
            )
        return [_delivery(row) for row in rows]

    def count_due(self, now: float) -> int:
        """How many deliveries are to be tried now."""
        with self.store.read() as tx:
            row = tx.one(f"SELECT count(*) {self._due}", *self._not_due(now), *self._kinds)
        return int(row[0]) if row else 0

    def _not_due(self, now: float) -> tuple[float, float]:
        """Between which times a next attempt is still to come; what is later comes from a clock that was wrong."""
        return now + 1e-3, now + 2 * self.limits.longest_pause

    def begin(self, delivery: Delivery, lease: Lease, now: float) -> str:
        """Begin an attempt: its token, or "" if there is nothing to do, because an earlier one was taken after all.

        Whatever attempt came before is given up: the `Doorkeeper` discards it if it still comes. Raises LeaseLost.
        """
        return self.begin_all([delivery], lease, now)[delivery.id]

    def begin_all(self, deliveries: Sequence[Delivery], lease: Lease, now: float) -> dict[int, str]:
        """The same for several at once; those that are then not tried after all can be begun again at any time."""
        with self.store.write() as tx:
            lease.confirm(tx)
            name = identity(tx)
            return {each.id: self._begin(tx, each, f"{name}.{secrets.token_hex(16)}", now) for each in deliveries}

    def _begin(self, tx: Transaction, delivery: Delivery, token: str, now: float) -> str:
        if tx.run(
            "UPDATE outbox_deliveries SET state = 'handing', token = ?, attempts = attempts + 1, next_at = ?"
            " WHERE id = ? AND state IN ('waiting', 'handing') AND taken_at IS NULL",
            token,
            now,
            delivery.id,
        ):
            return token
        tx.run(
            "UPDATE outbox_deliveries SET state = 'sent', done_at = ?,"
            " note = 'handed over before the sender was interrupted' WHERE id = ? AND state = 'handing'",
            now,
            delivery.id,
        )
        return ""

    def finish(self, delivery: Delivery, token: str, outcome: Outcome, now: float) -> State:
        """Keep what came of the attempt with that token; gives the state that the delivery is in now."""
        note = clean(outcome.text)
        attempts = delivery.attempts + 1
        with self.store.write() as tx:
            state = _DONE.get(outcome.result)
            next_at = now + self.limits.pause(attempts)
            if state is None and next_at > delivery.until:
                state = State.FAILED
                note = clean(f"given up after {attempts} attempts: {note}")
                if tx.one("SELECT 1 FROM outbox_deliveries WHERE token = ? AND taken_at IS NOT NULL", token) and (
                    outcome.result is Result.UNKNOWN
                ):
                    state, note = State.SENT, "handed over before the connection broke"
            if state is not None:
                changed = tx.run(
                    "UPDATE outbox_deliveries SET state = ?, done_at = ?, note = ? WHERE id = ? AND token = ?",
                    state,
                    now,
                    note,
                    delivery.id,
                    token,
                )
                if changed and not outcome.own:
                    judge(tx, delivery.destination, state, note, now, self.limits)
                return state
            # UNKNOWN stays in `handing`: the milter may yet see it, or have seen it
            state = State.HANDING if outcome.result is Result.UNKNOWN else State.WAITING
            ours = tx.run(
                "UPDATE outbox_deliveries SET state = ?, next_at = ?, note = ? WHERE id = ? AND token = ?",
                state,
                next_at,
                note,
                delivery.id,
                token,
            )
            if ours and state is State.WAITING:
                # surely not taken, even if the milter saw it: Postfix or another milter refused it afterwards
                tx.run("UPDATE outbox_deliveries SET token = NULL, taken_at = NULL WHERE id = ?", delivery.id)
        return state

    def bounced(self, token: str, note: str, now: float) -> bool:
        """The mail of that attempt has come back for good; False if there is no such attempt."""
        return self._bounced("token = ?", (token,), note, now)

    def bounced_mail(self, report_id: str, place: int, note: str, now: float) -> bool:
        """The same by what the Message-ID says (`mail.of_message_id`)."""
        return self._bounced("report = ? AND place = ?", (report_id, place), note, now)

    def _bounced(self, which: str, values: Sequence[object], note: str, now: float) -> bool:
        note = clean(note)
        with self.store.write() as tx:
            row = tx.one(
                f"SELECT id, destination FROM outbox_deliveries WHERE {which} AND state = 'sent'",  # noqa: S608
                *values,
            )
            if row is None:
                return False
            tx.run("UPDATE outbox_deliveries SET state = 'bounced', note = ? WHERE id = ?", note, row[0])
            judge(tx, str(row[1]), State.BOUNCED, note, now, self.limits)
        return True

    def report(self, report_id: str) -> Report | None:
        """One report with its payload (empty if that was let go), None if there is none of that id."""
        with self.store.read() as tx:
            row = tx.one(f"SELECT {_REPORT} FROM outbox_reports WHERE id = ?", report_id)  # noqa: S608 - constants
        return _report(row) if row else None

    def reports(self, kind: str = "", limit: int = 1000) -> list[tuple[Report, list[Delivery]]]:
        """The newest reports, without their payloads, each with its deliveries."""
        columns = _REPORT.replace("payload", "NULL")
        with self.store.read() as tx:
            found = tx.all(
                f"SELECT {columns} FROM outbox_reports WHERE ? = '' OR kind = ? ORDER BY made_at DESC, id LIMIT ?",  # noqa: S608
                kind,
                kind,
                limit,
            )
            return [(_report(row), self._deliveries(tx, str(row[0]))) for row in found]

    def deliveries(self, report_id: str) -> list[Delivery]:
        """The deliveries of one report."""
        with self.store.read() as tx:
            return self._deliveries(tx, report_id)

    def _deliveries(self, tx: Transaction, report_id: str) -> list[Delivery]:
        rows = tx.all(f"SELECT {_DELIVERY} FROM outbox_deliveries WHERE report = ? ORDER BY place", report_id)  # noqa: S608
        return [_delivery(row) for row in rows]

    def prune(self, now: float) -> int:
        """Let go what is done and old, and the payloads of what is done if they take too much; gives the number."""
        going = "SELECT 1 FROM outbox_deliveries d WHERE d.report = r.id AND d.state IN ('waiting', 'handing')"
        done = f"{self._mine} AND NOT EXISTS ({going})"
        with self.store.write() as tx:
            old = now - self.limits.keep
            where = f"r.made_at < ? AND {done}"
            ids = f"SELECT r.id FROM outbox_reports r WHERE {where}"  # noqa: S608 - constants
            tx.run(f"DELETE FROM outbox_deliveries WHERE report IN ({ids})", old, *self._kinds)  # noqa: S608
            gone = tx.run(f"DELETE FROM outbox_reports AS r WHERE {where}", old, *self._kinds)  # noqa: S608
            tx.run("DELETE FROM outbox_destinations WHERE failed_at < ? AND rest_until < ?", old, now)
            kept = f"FROM outbox_reports r WHERE r.payload IS NOT NULL AND {self._mine}"
            row = tx.one(f"SELECT sum(r.bytes) {kept}", *self._kinds)
            excess = int((row and row[0]) or 0) - self.limits.keep_bytes
            if excess > 0:
                self._let_go(tx, excess, done)
        return gone

    def _let_go(self, tx: Transaction, excess: int, done: str) -> None:
        rows = tx.stream(
            f"SELECT r.id, r.bytes FROM outbox_reports r WHERE r.payload IS NOT NULL AND {done} ORDER BY r.made_at",  # noqa: S608
            *self._kinds,
        )
        ids = []
        with contextlib.closing(rows):
            for report_id, size in rows:
                if excess <= 0:
                    break
                ids.append((report_id,))
                excess -= int(size)
        tx.many("UPDATE outbox_reports SET payload = NULL WHERE id = ?", ids)


def identity(tx: Transaction) -> str:
    """The random name of this outbox, by which its tokens are known from those of another."""
    tx.run(
        "INSERT INTO outbox_identity (place, name) VALUES (1, ?) ON CONFLICT (place) DO NOTHING", secrets.token_hex(8)
    )
    row = tx.one("SELECT name FROM outbox_identity")
    assert row
    return str(row[0])


def _report(row: Row) -> Report:
    report = Report(*row)
    return replace(report, payload=bytes(report.payload or b""))


def _delivery(row: Row) -> Delivery:
    delivery = Delivery(*row)
    return replace(delivery, state=State(delivery.state))
