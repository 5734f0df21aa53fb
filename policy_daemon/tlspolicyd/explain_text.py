"""An explanation for people: what Postfix is told about a domain, and why. Every statement is in words, none in colour
alone.

Security: the texts come from strangers; what is not printable is written as an escape, so that nothing reaches the
terminal as a command, and rich reads no markup in it.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tlspolicyd.explain import Explanation, sts_result
from tlspolicyd.facts import DaneFact, Facts, Level, MxHost, Tlsa

_WIDTH = 100  # columns where the output is no terminal
_LONGEST = 2000  # characters of one text
_VERDICT = {
    Level.SECURE: ("TLS with a certificate that fits the policy, or no delivery", "green"),
    Level.DANE_ONLY: ("TLS that fits the TLSA records, or no delivery", "green"),
    Level.DANE: ("each MX host by its TLSA records; those without get TLS if they offer it", "green"),
    Level.NOT_FOUND: ("no policy: Postfix's own level", "yellow"),
    Level.TEMP: ("no delivery for now", "red"),
}
_TLSA = {
    Tlsa.USABLE: "TLSA",
    Tlsa.UNUSABLE: "TLSA unusable",
    Tlsa.NONE: "no TLSA",
    Tlsa.FAILED: "TLSA look-up failed",
}


def as_text(explanation: Explanation, now: float, *, width: int = _WIDTH) -> str:
    """Plain text; `now`: unix seconds."""
    out = io.StringIO()
    show(explanation, now, Console(file=out, width=width, color_system=None, highlight=False))
    return out.getvalue()


def show(explanation: Explanation, now: float, console: Console) -> None:
    """Print to `console`."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for label, value, style in _rows(explanation, now):
        table.add_row(Text(label, style="bold"), Text(printable(value), style=style))
    console.print(table)


def printable(text: str) -> str:
    """`text` in one line, everything else than printable characters as an escape."""
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def _rows(explanation: Explanation, now: float) -> list[tuple[str, str, str]]:
    decision, facts = explanation.decision, explanation.facts
    if decision is None or facts is None:
        return [("Key", explanation.key, ""), ("Decision", f"NOTFOUND: {explanation.notes[0]}", "yellow")]
    verdict, colour = _VERDICT[decision.level]
    rows = [
        ("Domain", facts.domain, ""),
        ("Decision", f"{str(decision.level) or 'NOTFOUND'}: {verdict}", colour),
        ("Reason", decision.reason, ""),
        ("Rule", f"{decision.rule} (source: {decision.source})", ""),
        ("Postfix gets", explanation.reply.strip(), ""),
    ]
    if explanation.line_tlsrpt and explanation.line_tlsrpt != explanation.line:
        rows.append(("from 3.10", f"OK {explanation.line_tlsrpt}", ""))
    rows += _sts_rows(explanation, facts, now) + _dane_rows(explanation, facts.dane)
    return rows + [("Note", note, "yellow") for note in explanation.notes]


def _sts_rows(explanation: Explanation, facts: Facts, now: float) -> list[tuple[str, str, str]]:
    fact, record, fetch = facts.sts, explanation.record, explanation.fetch
    rows = []
    policy = fact.policy
    if policy is None:
        rows.append(("MTA-STS", f"{sts_result(fact)}{f': {fact.reason}' if fact.reason else ''}", ""))
    else:
        rows.append(("MTA-STS", f"mode {policy.mode}, id {fact.id or '?'}, max_age {policy.max_age} s", ""))
        rows += [("  mx", pattern, "") for pattern in policy.mx]
        state = "cached" if fact.cached else "fetched for this query"
        rows.append(("  cache", f"{state}, fetched {_time(fact.fetched_at)}, {_left(fact.expires_at - now)}", ""))
    if record is not None:
        texts = [f'"{text}"' for text in record.texts] or [record.status.value]
        rows += [("  TXT", f"{record.name}: {text}", "") for text in texts]
        if record.texts and record.reason:
            rows.append(("  TXT", f"not used: {record.reason}", "red"))
    where = f"{explanation.host} ({', '.join(explanation.addresses) or 'no address'})"
    if fetch is not None or explanation.addresses:
        rows.append(("  host", where, ""))
    if fetch is not None:
        result = "policy is there" if fetch.policy else f"{fetch.failure}: {fetch.reason}"
        rows.append(("  now", result, "" if fetch.policy else "red"))
        rows += [("  certificate", line, "") for line in fetch.certificate.splitlines()]
        rows += [("  note", note, "") for note in fetch.notes]
    return rows


def _dane_rows(explanation: Explanation, fact: DaneFact) -> list[tuple[str, str, str]]:
    if not fact.enabled:
        rows = [("DANE", fact.reason or "off", "")]
        return rows + [("  MX", f"{host.preference} {_host(explanation, host, tlsa=False)}", "") for host in fact.hosts]
    if fact.mx_failed or fact.null_mx or not fact.hosts:
        return [("MX", fact.reason or "no host", "red" if fact.mx_failed else "")]
    signed = "signed" if fact.mx_secure else "not signed (DNSSEC)"
    what = "none, the domain is its own host" if fact.implicit_mx else f"{len(fact.hosts)} hosts"
    rows = [("MX", f"{what}, {signed}, holds {fact.expires_in} s", "")]
    for host in fact.hosts:
        rows.append((f"  {host.preference}", _host(explanation, host), "red" if host.tlsa is Tlsa.FAILED else ""))
        rows += [("  TLSA", record, "") for record in host.records]
    return rows


def _host(explanation: Explanation, host: MxHost, *, tlsa: bool = True) -> str:
    words = [host.name, _TLSA[host.tlsa]] if tlsa else [host.name]
    match = explanation.matches.get(host.name)
    if match is not None:
        words.append("allowed by the policy" if match else "NOT allowed by the policy")
    return ", ".join(words) + (f" ({host.reason})" if host.reason else "")


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"at {seconds:g}"


def _left(seconds: float) -> str:
    if seconds <= 0:
        return "expired"
    days, rest = divmod(int(seconds), 86_400)
    return f"expires in {days} d {rest // 3600} h" if days else f"expires in {rest // 3600} h {rest % 3600 // 60} min"
