"""Reports for people: a list of them, and one as a table. What is printed has been cleaned where it was kept."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from lxml import etree
from rich.table import Table
from rich.text import Text

from authmilter.reports.feedback import NAMESPACE
from authmilter.reports.ledger import DAY
from authmilter.reports.mail import day_text
from authmilter.reports.observation import PublishedFacts
from mailcommon.outbox import Delivery, Report

_TAG = "{" + NAMESPACE + "}"
_MAX_XML = 1 << 30  # bytes


def collected_table(totals: Iterable[tuple[int, PublishedFacts, int, int]]) -> Table:
    """What is in the ledger."""
    table = _table("Collected, not yet reported", "day", "policy domain", "rows>", "messages>", "to")
    for day, published, rows, messages in totals:
        table.add_row(*_texts(day_text(day * DAY), published.domain, rows, messages, " ".join(published.rua)))
    return table


def reports_table(reports: Iterable[tuple[Report, Sequence[Delivery]]]) -> Table:
    """What is in the outbox, one line for each destination."""
    table = _table("Reports", "report", "day", "policy domain", "messages>", "state", "to", "note")
    for report, deliveries in reports:
        for delivery in deliveries:
            state = str(delivery.state)
            if delivery.done_at is None and delivery.attempts:
                state += f", tried {delivery.attempts} times"
            table.add_row(
                *_texts(
                    report.id,
                    day_text(report.begins),
                    report.domain,
                    report.count,
                    state,
                    delivery.destination,
                    delivery.note,
                )
            )
    return table


def report_lines(report: Report, deliveries: Sequence[Delivery]) -> list[str]:
    """The head of `report show`."""
    lines = [
        f"Report {report.id}",
        f"about mail from {report.domain} on {day_text(report.begins)} (UTC), {report.count} messages",
        f"made {_time(report.made_at)}, file {report.filename}",
    ]
    for delivery in deliveries:
        when = f" {_time(delivery.done_at)}" if delivery.done_at else f", next try {_time(delivery.next_at)}"
        lines.append(f"{delivery.state}{when}: {delivery.destination} {delivery.note}".rstrip())
    return lines


def xml_of(report: Report) -> bytes:
    """The XML document."""
    with gzip.GzipFile(fileobj=io.BytesIO(report.payload)) as packed:
        return packed.read(_MAX_XML)


def rows_table(xml: bytes) -> Table:
    """The records of a report, those with the most messages first."""
    root = etree.fromstring(xml, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))
    records = sorted(root.iterfind(f"{_TAG}record"), key=lambda record: -int(_text(record, "row/count") or 0))
    table = _table("", "source", "messages>", "disposition", "DKIM", "SPF", "From", "envelope", "signed by", "reasons")
    for record in records:
        row = "row/policy_evaluated/"
        table.add_row(
            *_texts(
                _text(record, "row/source_ip"),
                _text(record, "row/count"),
                _text(record, row + "disposition"),
                _text(record, row + "dkim"),
                _text(record, row + "spf"),
                _text(record, "identifiers/header_from"),
                _text(record, "identifiers/envelope_from"),
                " ".join(
                    f"{_text(each, 'domain')}:{_text(each, 'result')}"
                    for each in record.iterfind(_path("auth_results/dkim"))
                ),
                " ".join(_text(each, "type") for each in record.iterfind(_path(row + "reason"))),
            )
        )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.removesuffix(">"), justify="right" if column.endswith(">") else "left", overflow="fold")
    return table


def _texts(*values: object) -> list[Text]:
    return [Text(str(value)) for value in values]  # no markup is read out of them


def _path(path: str) -> str:
    return "/".join(_TAG + step for step in path.split("/"))


def _text(element: etree._Element, path: str) -> str:
    return element.findtext(_path(path)) or ""


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
