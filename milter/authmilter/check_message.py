"""`authmilter check`: one message file through the same transaction as the milter's, and what came of it as text.

Limits: the message is read whole, as it was given. Line ends of LF become CRLF, as an MTA would send them.
"""

from __future__ import annotations

import ipaddress
import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from authmilter.arc.sealer import Sealed
from authmilter.facts import ArcFact, BimiFact, Client, DkimFact, DmarcFact, IprevFact, SpfFact
from authmilter.headers.escape import printable
from authmilter.settings import Settings
from authmilter.setup import make_setup
from authmilter.sign.keyring import read_keys
from authmilter.transaction import Outcome, Transaction
from authmilter.verdict import Verdict
from mailcommon.dns.recorded import RecordingResolver, ReplayResolver, dump, load
from mailcommon.dns.resolver import DnsResolver, Resolver

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_CHUNK = 65_535  # as Postfix cuts bodies


class CheckError(Exception):
    """The request cannot be carried out; the text says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """The command line of `authmilter check`."""

    client_ip: str
    client_name: str
    helo: str
    mail_from: str
    dns: Path | None = None  # replay from
    record_dns: Path | None = None  # record to
    auth_user: str = ""
    rcpt_to: tuple[str, ...] = ()


def run(settings: Settings, request: Request, message: bytes, *, as_json: bool) -> str:
    """Check `message` and describe the outcome; raises CheckError."""
    try:
        address = ipaddress.ip_address(request.client_ip.partition("%")[0])  # an IPv6 zone means nothing here
    except ValueError:
        raise CheckError(f"--client-ip: {request.client_ip!r} is not an IP address") from None
    if request.dns and request.record_dns:
        raise CheckError("--dns and --record-dns exclude each other")
    resolver, now = _resolver(settings, request)
    sender = request.mail_from.strip()
    if sender.startswith("<") and sender.endswith(">"):
        sender = sender[1:-1]
    ip = str(getattr(address, "ipv4_mapped", None) or address)
    client = Client(ip, request.client_name, request.helo, auth_user=request.auth_user)
    outcome = authenticate(settings, client, sender, message, resolver, now, request.rcpt_to)
    if request.record_dns and isinstance(resolver, RecordingResolver):
        try:
            request.record_dns.write_text(dump(resolver.records, now), encoding="utf-8")
        except OSError as fault:
            raise CheckError(f"--record-dns: {request.record_dns}: {fault.strerror}") from fault
    return json.dumps(as_object(outcome), indent=2) if as_json else as_text(outcome)


def _resolver(settings: Settings, request: Request) -> tuple[Resolver, int]:
    """Where answers come from, and the time that the dates in signatures are compared with."""
    now = int(time.time())
    if not request.dns:
        live = DnsResolver(settings.dns.for_resolver())
        return (RecordingResolver(live) if request.record_dns else live), now
    try:
        recording = load(request.dns.read_text(encoding="utf-8"))
    except OSError as fault:
        raise CheckError(f"--dns: {request.dns}: {fault.strerror}") from fault
    except ValueError as fault:
        raise CheckError(f"--dns: {request.dns}: {fault}") from fault
    return ReplayResolver(recording.records), now if recording.time is None else recording.time


def authenticate(
    settings: Settings,
    client: Client,
    mail_from: str,
    message: bytes,
    resolver: Resolver,
    now: float,
    recipients: Iterable[str] = (),
) -> Outcome:
    """Drive one message through a `Transaction`; `now` is the time of receipt in unix seconds."""
    keys = read_keys(settings.signing(), settings.user)
    # a recording has DNS answers only
    setup = make_setup(settings, resolver, keys, fetch=not isinstance(resolver, ReplayResolver))
    bimi = setup.bimi and replace(setup.bimi, now=lambda: now)
    setup = replace(setup, now=lambda: now, bimi=bimi)
    transaction = Transaction(setup, client, mail_from, smtputf8=not mail_from.isascii())
    for recipient in recipients:
        transaction.recipient(recipient.strip().removeprefix("<").removesuffix(">"))
    header, body = split_message(message)
    for name, value in header:
        transaction.header(name, value)
    transaction.end_of_headers()
    for start in range(0, len(body), _CHUNK):
        transaction.body(body[start : start + _CHUNK])
    try:
        return transaction.finish()
    finally:
        if setup.bimi:
            setup.bimi.source.close()


def split_message(message: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Header fields and body as an MTA hands them to a milter; a line that is no field begins the body."""
    text = re.sub(rb"(?<!\r)\n", b"\r\n", message)
    fields: list[tuple[bytes, bytes]] = []
    position = 0
    for start, end in _unfolded(text):
        line = text[start:end]
        if not line:
            return fields, text[end + 2 :]
        match = _FIELD.fullmatch(line)
        if match is None:
            if not fields and line.startswith(b"From "):  # the line that mbox files begin a message with
                continue
            return fields, text[start:]
        fields.append((match[1], match[2]))
        position = end + 2
    return fields, text[position:]


def _unfolded(text: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of each header line with its continuation lines."""
    start = 0
    while start < len(text):
        end = text.find(b"\r\n", start)
        while end != -1 and end > start and text[end + 2 : end + 3] in (b" ", b"\t"):
            end = text.find(b"\r\n", end + 2)
        if end == -1:
            yield start, len(text)
            return
        yield start, end
        start = end + 2


def as_object(outcome: Outcome) -> dict[str, Any]:
    """The object that --json prints; its keys are stable."""
    facts, actions = outcome.facts, outcome.actions
    mfrom = next((fact for fact in facts.spf if fact.scope == "mfrom"), None)
    helo = next((fact for fact in facts.spf if fact.scope == "helo"), None)
    deciding = next((fact for fact in facts.dmarc if fact.author_domain == outcome.verdict.author_domain), None)
    return {
        "headers_add": [list(pair) for pair in actions.headers_add],
        "headers_remove": [list(pair) for pair in actions.headers_remove],
        "decision": str(actions.decision),
        "would_be": str(outcome.verdict.would_be) if outcome.verdict.would_be else None,
        "rule": outcome.verdict.rule,
        "reason": outcome.verdict.reason,
        "override": _override(outcome.verdict),
        "reply": str(actions.reply) if actions.reply else None,
        "signed": [
            {"domain": one.domain, "selector": one.selector, "algorithm": one.algorithm} for one in outcome.made.signed
        ],
        "unsigned": outcome.made.unsigned or None,
        "sealed": _sealed(outcome.sealed),
        "unsealed": outcome.sealed.unsealed or None,
        "results": {
            "spf": mfrom and _spf(mfrom),
            "spf_helo": helo and _spf(helo),
            "dkim": [_dkim(fact) for fact in facts.dkim],
            "dmarc": _dmarc(deciding, facts.dmarc, facts.author.problem),
            "arc": facts.arc and _arc(facts.arc),
            "iprev": facts.iprev and _iprev(facts.iprev),
            "bimi": facts.bimi and _bimi(facts.bimi),
        },
    }


def _override(verdict: Verdict) -> dict[str, str] | None:
    """Why the domain's policy was not applied, as reports will say it."""
    return {"type": verdict.override, "comment": verdict.override_comment} if verdict.override else None


def _spf(fact: SpfFact) -> dict[str, Any]:
    return {
        "result": str(fact.result),
        "domain": fact.domain,
        "identity": fact.identity,
        "mechanism": fact.mechanism,
        "reason": fact.reason,
        "explanation": fact.explanation,
    }


def _dkim(fact: DkimFact) -> dict[str, Any]:
    return {
        "result": str(fact.result),
        "domain": fact.domain,
        "selector": fact.selector,
        "identity": fact.identity,
        "algorithm": fact.algorithm,
        "key_bits": fact.key_bits,
        "testing": fact.testing,
        "reason": fact.reason,
    }


def _sealed(made: Sealed) -> dict[str, Any] | None:
    return {"instance": made.instance, "status": made.status} if made.status else None


def _arc(fact: ArcFact) -> dict[str, Any]:
    return {
        "result": str(fact.result),
        "sets": [
            {"instance": one.instance, "domain": one.domain, "selector": one.selector, "results": one.claims}
            for one in fact.sets
        ],
        "oldest_pass": fact.oldest_pass,
        "reason": fact.reason,
    }


def _dmarc(deciding: DmarcFact | None, every: tuple[DmarcFact, ...], problem: str) -> dict[str, Any] | None:
    fact = deciding or (every[0] if every else None)
    if fact is None:
        return {"result": "permerror", "from": "", "reason": problem} if problem else None
    return {
        "result": str(fact.result),
        "from": fact.author_domain,
        "policy": str(fact.policy),
        "policy_domain": fact.policy_domain,
        "spf_aligned": fact.spf_aligned,
        "dkim_aligned": fact.dkim_aligned,
        "reason": problem or fact.reason,
        "domains": {each.author_domain: str(each.result) for each in every},
    }


def _iprev(fact: IprevFact) -> dict[str, Any]:
    return {"result": str(fact.result), "ip": fact.ip, "name": fact.name, "reason": fact.reason}


def _bimi(fact: BimiFact) -> dict[str, Any]:
    return {
        "result": str(fact.result),
        "domain": fact.domain,
        "selector": fact.selector,
        "authority": fact.authority and str(fact.authority),
        "authority_uri": fact.authority_uri,
        "indicator_uri": fact.indicator_uri,
        "mark_type": fact.mark_type,
        "preference": fact.preference,
        "reason": fact.reason,
    }


def as_text(outcome: Outcome) -> str:
    """The same for people."""
    actions, verdict = outcome.actions, outcome.verdict
    lines = [f"{name}: {value}" for name, value in actions.headers_add]
    lines += [f"removed: {name} ({occurrence})" for name, occurrence in actions.headers_remove]
    lines.append(f"decision: {actions.decision} (rule {verdict.rule}: {printable(verdict.reason)})")
    if outcome.made.unsigned:
        lines.append(printable(outcome.made.unsigned))
    if outcome.sealed.unsealed:
        lines.append(f"not sealed: {printable(outcome.sealed.unsealed)}")
    if verdict.would_be:
        lines.append(f"without dry_run: {verdict.would_be}")
    if verdict.override:
        lines.append(f"policy {verdict.policy} not applied: {verdict.override} ({printable(verdict.override_comment)})")
    if actions.reply:
        lines.append(f"reply: {actions.reply}")
    return "\n".join(lines)
