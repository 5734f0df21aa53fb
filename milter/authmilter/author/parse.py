"""From header fields in, Author out.

The point of this package: whatever a mail client might show as the author is either in `domains` or `problem` is set.
A quiet "none" for a From that could not be read would be a way around DMARC (RFC 9989 §11.5).

Takes field values as the MTA gave them: folds as CRLF + blank, any bytes. Gives an `Author`; never raises.
Limits: 128 KB are parsed (Postfix cuts a header field at header_size_limit, 102400 bytes); what is beyond is a problem
and only scanned.
Standards: RFC 5322 §3.4, §3.6.2, §4.4; RFC 6532; RFC 6854; RFC 9989 §5.3.1, §11.5.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from authmilter.author.addresses import read_addresses
from authmilter.author.salvage import scan_domains
from authmilter.author.tokens import tokenize
from authmilter.facts import Author

MAX_DOMAINS = 50
_MAX_BYTES = 128 * 1024
_CACHED_BYTES = 512
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def parse_author(from_values: Sequence[bytes], max_domains: int = MAX_DOMAINS) -> Author:
    """The Author of a message with these From field values (`HeaderField.value`), in the order of the fields.

    Several different domains in a valid From are no problem by themselves: RFC 9989 §11.5 leaves them to the caller.
    More than `max_domains` of them are; the first `max_domains` are given.
    """
    if len(from_values) == 1 and len(from_values[0]) <= _CACHED_BYTES:
        return _parse_short(from_values[0], max_domains)
    if not from_values:
        return Author((), "there is no From header field")
    domains: dict[str, None] = {}
    addresses: list[str] = []
    problem = ""
    left = _MAX_BYTES
    for value in from_values:
        left -= len(value)
        found, wrong, written = _read(value, max_domains) if left >= 0 else _scan_only(value, max_domains)
        domains |= found
        addresses += written
        problem = problem or wrong
        if len(domains) > max_domains:
            break
    if len(from_values) > 1:
        # RFC 5322 §3.6 allows one; also equal ones, as nobody knows which one is shown
        problem = f"there are {len(from_values)} From header fields"
    return _author(domains, problem, max_domains, addresses)


@functools.lru_cache(maxsize=2048)
def _parse_short(value: bytes, max_domains: int) -> Author:
    domains, problem, addresses = _read(value, max_domains)
    return _author(domains, problem, max_domains, addresses)


def _author(domains: dict[str, None], problem: str, max_domains: int, addresses: list[str]) -> Author:
    if len(domains) > max_domains:
        return Author(tuple(domains)[:max_domains], f"the From field names more than {max_domains} domains")
    if not domains and not problem:
        problem = "the From field has no address"
    # bytes that are not UTF-8 are surrogates until here
    problem = problem.encode("utf-8", "replace").decode("utf-8")
    return Author(tuple(domains), problem, () if problem else tuple(addresses))


def _read(value: bytes, max_domains: int) -> tuple[dict[str, None], str, list[str]]:
    """The domains of one field, what is wrong with it, and the addresses."""
    text = value.decode("utf-8", "surrogateescape")
    if "\n" in text:
        text = _FOLD.sub("", text)  # RFC 5322 §2.2.3: unfolding removes the line ends and nothing else
    tokens, problem = ([], "the From field has a control character") if _CONTROL.search(text) else tokenize(text)
    found = read_addresses(tokens, max_domains)
    problem = problem or found.problem
    if problem:
        return found.domains | scan_domains(text, max_domains), problem, []
    return found.domains, "", found.addresses


def _scan_only(value: bytes, max_domains: int) -> tuple[dict[str, None], str, list[str]]:
    text = value[:_MAX_BYTES].decode("utf-8", "surrogateescape")
    return scan_domains(text, max_domains), f"the From field is larger than {_MAX_BYTES} bytes", []
