"""An aggregate report as XML (RFC 9990 §3.1 and its schema), compressed as it is written.

Rows come one by one and are never all in memory; what is in memory is the compressed result.
Security: every text goes through `xml_text`, and lxml escapes it.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lxml import etree

from authmilter.reports.observation import PublishedFacts, RowFacts
from authmilter.reports.text import xml_text

NAMESPACE = "urn:ietf:params:xml:ns:dmarc-2.0"  # RFC 9990 §3.1.1.1
_TAG = "{" + NAMESPACE + "}"
_NAMES: Any = {None: NAMESPACE}  # the stubs know no default namespace
_ERROR_MAX = 1000  # characters; RFC 9990 §3.1.5: no "extremely large body"


@dataclass(frozen=True, slots=True)
class Metadata:
    """Who reports, and about what time."""

    org_name: str
    email: str
    contact: str  # "" for none
    report_id: str
    begin: int  # seconds since 1970 UTC
    end: int


@dataclass(frozen=True, slots=True)
class Feedback:
    """The XML document, compressed with gzip."""

    payload: bytes
    rows: int
    messages: int


def generator() -> str:
    """The name and version of this program."""
    return f"gatepost {importlib.metadata.version('gatepost')}"


def write_feedback(meta: Metadata, published: PublishedFacts, rows: Iterable[tuple[RowFacts, int]]) -> Feedback:
    """One report; there must be at least one row (RFC 9990 §3.1.1.2)."""
    result = io.BytesIO()
    number = messages = 0
    with (
        gzip.GzipFile(fileobj=result, mode="wb", mtime=meta.begin) as packed,
        etree.xmlfile(packed, encoding="UTF-8") as document,
    ):
        document.write_declaration()
        with document.element(f"{_TAG}feedback", nsmap=_NAMES):
            _write(document, _leaf("version", "1.0"), _metadata(meta, published), _policy(published))
            for row, count in rows:
                _write(document, _record(row, count))
                number += 1
                messages += count
    return Feedback(result.getvalue(), number, messages)


def _write(document: etree._IncrementalFileWriter, *elements: etree._Element) -> None:
    for element in elements:
        document.write(element)
        document.write("\n")


def _leaf(name: str, text: str) -> etree._Element:
    element = etree.Element(_TAG + name, nsmap=_NAMES)
    element.text = text
    return element


def _group(name: str, *children: etree._Element | None) -> etree._Element:
    element = etree.Element(_TAG + name, nsmap=_NAMES)
    element.extend(child for child in children if child is not None)
    return element


def _optional(name: str, text: str) -> etree._Element | None:
    return _leaf(name, text) if text else None


def _metadata(meta: Metadata, published: PublishedFacts) -> etree._Element:
    return _group(
        "report_metadata",
        _leaf("org_name", xml_text(meta.org_name)),
        _leaf("email", xml_text(meta.email)),
        _optional("extra_contact_info", xml_text(meta.contact)),
        _leaf("report_id", meta.report_id),
        _group("date_range", _leaf("begin", str(meta.begin)), _leaf("end", str(meta.end))),
        _optional("error", xml_text(published.error, _ERROR_MAX)),
        _leaf("generator", generator()),
    )


def _policy(published: PublishedFacts) -> etree._Element:
    return _group(
        "policy_published",
        _leaf("domain", xml_text(published.domain)),
        _leaf("p", published.p),
        _leaf("sp", published.sp),
        _leaf("np", published.np),
        _leaf("adkim", published.adkim),
        _leaf("aspf", published.aspf),
        _leaf("discovery_method", "treewalk"),
        _leaf("fo", xml_text(published.fo)),
        _leaf("testing", "y" if published.testing else "n"),
    )


def _record(row: RowFacts, count: int) -> etree._Element:
    return _group(
        "record",
        _group(
            "row",
            _leaf("source_ip", row.source_ip),
            _leaf("count", str(count)),
            _group(
                "policy_evaluated",
                _leaf("disposition", row.disposition),
                _leaf("dkim", row.dkim),
                _leaf("spf", row.spf),
                *(
                    _group("reason", _leaf("type", kind), _optional("comment", xml_text(comment)))
                    for kind, comment in row.reasons
                ),
            ),
        ),
        _group(
            "identifiers",
            _leaf("header_from", xml_text(row.header_from)),
            # RFC 9990 §3.1.1.10: there and empty for the null sender
            _leaf("envelope_from", xml_text(row.envelope_from)),
        ),
        _group(
            "auth_results",
            *(
                _group(
                    "dkim",
                    _leaf("domain", xml_text(each.domain)),
                    _leaf("selector", xml_text(each.selector)),
                    _leaf("result", each.result),
                    _optional("human_result", xml_text(each.text)),
                )
                for each in row.signatures
            ),
            _group(
                "spf",
                _leaf("domain", xml_text(row.checked.domain)),
                _leaf("scope", "mfrom"),
                _leaf("result", row.checked.result),
                _optional("human_result", xml_text(row.checked.text)),
            )
            if row.checked
            else None,
        ),
    )
