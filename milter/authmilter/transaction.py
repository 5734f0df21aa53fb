"""One message on its way through: bytes in, facts, verdict and actions out.

The milter session and `authmilter check` both drive this, so that they cannot differ. Look-ups start as soon as their
names are known: SPF at MAIL, keys and DMARC records at the end of the header.

Limits: 4 MB of header fields, 200 of them removed; the body is hashed as it comes and not kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from authmilter.actions import Actions, after, forged_fields, plan
from authmilter.arc.check import ArcCheck
from authmilter.arc.sealer import NOTHING as NOT_SEALED
from authmilter.arc.sealer import Sealed, Sealing
from authmilter.author import parse_author
from authmilter.budget import Budget
from authmilter.dkim.bodies import Bodies
from authmilter.dkim.check import DkimCheck
from authmilter.dkim.header_hash import Header
from authmilter.dmarc.evaluate import evaluate, names_to_start
from authmilter.facts import (
    Author,
    Client,
    DkimFact,
    DmarcFact,
    DmarcResult,
    HeaderField,
    HeloFact,
    IprevFact,
    MessageFacts,
    SpfFact,
)
from authmilter.headers.claims import CLAIMING_NAMES
from authmilter.helo import confirm_helo, helo_rdtype
from authmilter.iprev import check_iprev
from authmilter.knowledge import knowledge_of
from authmilter.reply import Reply
from authmilter.setup import Setup
from authmilter.sign.sent_on import unproven_domains
from authmilter.sign.signer import NOTHING, Made, Signing
from authmilter.verdict import Decision, Verdict, decide
from mailcommon.names import reverse_name, to_alabel

MAX_HEADER_BYTES = 4 * 1024 * 1024
MESSAGE_SECONDS = 60.0  # of waiting for DNS at the end of a message; Postfix waits for milter_content_timeout, 300 s
FIELD_COST = 150  # bytes that keeping one field takes beside its text
# RFC 9990 §3.5.2 dmarc-subject; its words count in any case (RFC 5234 §2.3), and large senders write "Report domain"
_REPORT_SUBJECT = re.compile(r"Report\s+Domain:\s+\S+\s+Submitter:\s+\S+", re.IGNORECASE).match
MAX_REMOVED = 200  # the MTA goes through the whole header for each field that it removes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message."""

    facts: MessageFacts
    verdict: Verdict
    actions: Actions
    ms: float  # from the end of the message to the answer
    made: Made = NOTHING  # signatures of ours
    sealed: Sealed = NOT_SEALED  # ARC set of ours
    fields: Sequence[HeaderField] = ()  # as received; none if nothing was evaluated
    dns_ms: float = 0.0  # of `ms`: waiting for DNS


class Transaction:
    """The life of one message, MAIL to the end of the message. Not shared between threads."""

    def __init__(self, setup: Setup, client: Client, mail_from: str, smtputf8: bool = False) -> None:
        """`mail_from` is the reverse-path without angle brackets, "" for the null sender."""
        self._setup = setup
        self._resolver = Budget(setup.resolver, setup.monotonic, MESSAGE_SECONDS)
        self._client = client
        self._mail_from = mail_from
        self._smtputf8 = smtputf8
        self._keep_claims = client.ip in setup.keep_results
        # mail of our own users is never judged as if it came from strangers
        self._judged = not (client.local or client.auth_user or self._keep_claims or client.ip in setup.trusted)
        self._fields: list[HeaderField] = []
        self._header_bytes = 0
        self._author = Author(())
        self._bodies = Bodies()
        self._dkim: DkimCheck | None = None
        self._arc: ArcCheck | None = None
        sealer = setup.sealer
        self._seals = sealer is not None and self._judged and not sealer.asks_recipients
        self._sealing: Sealing | None = None
        # mail that is not judged is ours to sign, but for what a relay of ours took from strangers
        self._signs = setup.signer.active and not self._judged and not (self._keep_claims and not client.auth_user)
        self._signing: Signing | None = None
        if self._judged:
            self._start_envelope()

    def _start_envelope(self) -> None:
        resolver = self._setup.resolver
        domain = to_alabel(self._mail_from.rpartition("@")[2]) if self._mail_from else None
        helo = to_alabel(self._client.helo)
        for name in {domain, helo if self._setup.check_helo or not domain else None}:
            if name and "." in name:
                resolver.start("TXT", name)
        if not self._client.name:
            resolver.start("PTR", reverse_name(self._client.ip))
        if trusted := self._setup.forwarders.asks_for(self._client.helo):
            resolver.start(helo_rdtype(self._client), trusted)

    def recipient(self, address: str) -> None:
        """One recipient that the MTA has taken, without angle brackets; of use only if `Sealer.asks_recipients`."""
        sealer = self._setup.sealer
        self._seals = self._seals or (sealer is not None and self._judged and sealer.covers(address))

    def header(self, name: bytes, value: bytes) -> None:
        """One header field as received; see `HeaderField` for the form of `value`."""
        if not (self._judged or self._signs) and name.lower().rstrip() not in CLAIMING_NAMES:
            return
        self._header_bytes += len(name) + len(value) + FIELD_COST
        if self._header_bytes <= MAX_HEADER_BYTES:
            self._fields.append(HeaderField(name, value))
        elif self._signs:
            self._give_up_signing()

    def _give_up_signing(self) -> None:
        """A header of ours is too large: go on as if nothing were to be signed."""
        self._signs = False
        fields, self._fields, self._header_bytes = self._fields, [], 0
        for field in fields:
            self.header(*field)

    def end_of_headers(self) -> None:
        """All header fields have come: start every look-up that they name."""
        if not (self._judged or self._signs) or self._header_bytes > MAX_HEADER_BYTES:
            return
        setup = self._setup
        self._author = parse_author([field.value for field in self._fields if _name(field) == b"from"])
        if self._signs:
            unproven = unproven_domains(self._fields, (setup.names.authserv_id, *setup.names.own_ids))
            self._signing = setup.signer.begin(self._author, self._client, self._mail_from, unproven)
            return
        header, now = Header(self._fields), setup.now()
        self._dkim = DkimCheck(
            self._fields, setup.dkim, now, prefer=self._author.domains, header=header, bodies=self._bodies
        )
        if setup.arc:
            self._arc = ArcCheck(header, self._bodies, setup.arc, setup.dkim, now)
            if self._seals and setup.sealer:
                self._sealing = setup.sealer.begin(self._arc, self._bodies)
        authors = self._author.domains[: setup.rules.max_author_domains]
        spf_domain = to_alabel((self._mail_from or self._client.helo).rpartition("@")[2]) or ""
        for name in (*self._dkim.key_names, *(self._arc.key_names if self._arc else ())):
            setup.resolver.start("TXT", name)
        for name in names_to_start(authors, spf_domain, self._dkim.domains):
            setup.resolver.start("TXT", name)

    def body(self, chunk: bytes) -> None:
        """Some of the body, lines ending in CRLF, cut anywhere."""
        if self._dkim:
            self._bodies.update(chunk)
        elif self._signing:
            self._signing.body(chunk)

    def finish(self) -> Outcome:
        """The end of the message: wait for what was started, decide."""
        setup = self._setup
        began = setup.monotonic()
        self._resolver.begin()
        if self._header_bytes > MAX_HEADER_BYTES:
            return self._refused(began, "header-size", f"the header is larger than {MAX_HEADER_BYTES} bytes")
        if (self._judged and self._dkim is None) or (self._signs and self._signing is None):
            self.end_of_headers()  # nobody said that it ended: the message is judged all the same
        facts = self._facts()
        deferral = (self._mail_from, facts.author.domains)
        knowledge = knowledge_of(facts, setup.forwarders, setup.sealers, setup.deferrals.age(deferral))
        verdict = decide(facts, knowledge, setup.rules)
        if verdict.decision is Decision.TEMPFAIL:
            setup.deferrals.note(deferral)
        elif verdict.rule not in ("temperror", "unknown"):
            setup.deferrals.forget(deferral)
        if setup.bimi and facts.judged and verdict.decision in (Decision.ACCEPT, Decision.QUARANTINE):
            facts = replace(facts, bimi=setup.bimi.check(facts, self._fields, self._resolver))
        actions = plan(facts, self._fields, verdict, setup.names, keep_claims=self._keep_claims)
        if self._judged and len(actions.headers_remove) > MAX_REMOVED:
            return self._refused(began, "forged-fields", f"more than {MAX_REMOVED} header fields claim to be ours")
        made = NOTHING
        if self._signing:
            made = self._signing.finish(after(self._fields, actions), setup.now())
            if setup.signer.settings.tempfail_without_key and self._is_deferred(made):
                return self._without_key(made, facts, began)
            # trace fields: above all that they sign
            actions = replace(actions, headers_add=(*made.fields, *actions.headers_add))
        sealed = self._seal(facts, actions)
        # RFC 8617 §5.1 step 1: after everything else
        actions = replace(actions, headers_add=(*sealed.fields, *actions.headers_add)) if sealed.fields else actions
        ms, dns_ms = (setup.monotonic() - began) * 1000, self._resolver.waited * 1000
        return Outcome(facts, verdict, actions, ms, made, sealed, self._fields, dns_ms)

    def _seal(self, facts: MessageFacts, actions: Actions) -> Sealed:
        if self._sealing is None or facts.arc is None or actions.reply:
            return NOT_SEALED
        # RFC 8617 §4.1.1: all results of this host
        claims = dict(actions.headers_add)["Authentication-Results"]
        return self._sealing.finish(after(self._fields, actions), facts.arc, claims, self._setup.now())

    def _is_deferred(self, made: Made) -> bool:
        """Whether a message that lacks a signature waits for the key; not longer than `max_deferral`."""
        setup = self._setup
        deferral = ("no-key", self._mail_from, self._author.addresses)
        if not made.missing_key:
            setup.deferrals.forget(deferral)
        elif setup.deferrals.age(deferral) < setup.rules.max_deferral:
            setup.deferrals.note(deferral)
            return True
        return False

    def _without_key(self, made: Made, facts: MessageFacts, began: float) -> Outcome:
        verdict = Verdict(Decision.TEMPFAIL, "no-key", made.unsigned)
        reply = Reply("451", "4.3.5", "This message cannot be signed now; try again later")
        actions = Actions(Decision.TEMPFAIL, reply=reply)
        return Outcome(facts, verdict, actions, (self._setup.monotonic() - began) * 1000, replace(made, fields=()))

    def forged(self) -> tuple[tuple[str, int], ...]:
        """The fields to remove from the message whatever else is found; for a message that cannot be finished."""
        return () if self._keep_claims else forged_fields(self._fields, self._setup.names)

    def _facts(self) -> MessageFacts:
        if self._dkim is None:
            return MessageFacts(self._client, self._mail_from, self._smtputf8, judged=False)
        resolver = self._resolver
        iprev: IprevFact | None = check_iprev(self._client, resolver) if self._client.ip else None
        spf = self._check_spf() if self._client.ip else ()
        dkim = self._dkim.finish(resolver)
        authors = self._author.domains[: self._setup.rules.max_author_domains]
        skipped = self._dkim.skipped
        return MessageFacts(
            self._client,
            self._mail_from,
            self._smtputf8,
            self._author,
            iprev,
            spf,
            dkim,
            tuple(self._evaluate(domain, spf, dkim) for domain in authors),
            self._arc.finish(resolver) if self._arc else None,
            list_id=self._text(b"list-id"),
            report=bool(_REPORT_SUBJECT(self._text(b"subject"))),
            list_post=self._text(b"list-post"),
            helo=self._confirm_helo(),
            notes=(f"{skipped} further signatures were not looked at",) if skipped else (),
        )

    def _evaluate(self, domain: str, spf: tuple[SpfFact, ...], dkim: tuple[DkimFact, ...]) -> DmarcFact:
        fact = evaluate(domain, spf, dkim, self._resolver)
        problem = self._author.problem
        if problem and fact.result in (DmarcResult.PASS, DmarcResult.NONE):
            # RFC 9989 §11.5: what is read out of a broken From may count against the message, never for it
            return replace(fact, result=DmarcResult.PERMERROR, reason=problem)
        return fact

    def _check_spf(self) -> tuple[SpfFact, ...]:
        # RFC 7208 §2.3: HELO may be checked apart; for the null sender MAIL FROM is made of it (§2.4)
        apart = self._setup.check_helo and self._mail_from and self._client.helo
        scopes = ("helo", "mfrom") if apart else ("mfrom",)
        client = self._client
        check = self._setup.spf.check
        return tuple(check(scope, client.ip, self._mail_from, client.helo, self._resolver) for scope in scopes)

    def _confirm_helo(self) -> HeloFact | None:
        name = self._setup.forwarders.asks_for(self._client.helo) if self._client.ip else ""
        return confirm_helo(self._client, name, self._resolver) if name else None

    def _text(self, name: bytes) -> str:
        for field in self._fields:
            if _name(field) == name:
                return field.value[:1000].decode("utf-8", "replace").replace("\r\n", "").strip()
        return ""

    def _refused(self, began: float, rule: str, reason: str) -> Outcome:
        """A header that is out of all proportion: nothing was evaluated, or nothing of it counts."""
        facts = MessageFacts(self._client, self._mail_from, self._smtputf8, judged=self._judged)
        if self._setup.rules.dry_run:
            verdict = Verdict(Decision.ACCEPT, rule, reason, would_be=Decision.REJECT)
            actions = Actions(Decision.ACCEPT, headers_remove=self.forged())
        else:
            verdict = Verdict(Decision.REJECT, rule, reason)
            actions = Actions(Decision.REJECT, reply=Reply("552", "5.3.4", f"Message refused: {reason}"))
        return Outcome(facts, verdict, actions, (self._setup.monotonic() - began) * 1000)


def _name(field: HeaderField) -> bytes:
    """RFC 5322 §4.5.8: there may be blanks before the colon. Postfix takes them out, other MTAs do not."""
    return field.name.rstrip(b" \t").lower()
