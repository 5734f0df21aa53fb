"""One message on its way through: bytes in, facts, verdict and actions out.

The milter session and `authmilter check` both drive this, so that they cannot differ. Look-ups start as soon as their
names are known: SPF at MAIL, keys and DMARC records at the end of the header.

Limits: 4 MB of header fields, 200 of them removed; the body is hashed as it comes and not kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from authmilter.actions import Actions, forged_fields, plan
from authmilter.author import parse_author
from authmilter.budget import Budget
from authmilter.dkim.check import DkimCheck
from authmilter.dmarc.evaluate import evaluate, names_to_start
from authmilter.facts import (
    Author,
    Client,
    DkimFact,
    DmarcFact,
    DmarcResult,
    HeaderField,
    IprevFact,
    MessageFacts,
    SpfFact,
)
from authmilter.headers.claims import CLAIMING_NAMES
from authmilter.iprev import check_iprev
from authmilter.knowledge import knowledge_of
from authmilter.reply import Reply
from authmilter.setup import Setup
from authmilter.verdict import Decision, Verdict, decide
from mailcommon.names import reverse_name, to_alabel

MAX_HEADER_BYTES = 4 * 1024 * 1024
MESSAGE_SECONDS = 60.0  # of waiting for DNS at the end of a message; Postfix waits for milter_content_timeout, 300 s
FIELD_COST = 150  # bytes that keeping one field takes beside its text
MAX_REMOVED = 200  # the MTA goes through the whole header for each field that it removes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message."""

    facts: MessageFacts
    verdict: Verdict
    actions: Actions
    ms: float  # from the end of the message to the answer


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
        self._dkim: DkimCheck | None = None
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

    def header(self, name: bytes, value: bytes) -> None:
        """One header field as received; see `HeaderField` for the form of `value`."""
        if not self._judged and name.lower().rstrip() not in CLAIMING_NAMES:
            return
        self._header_bytes += len(name) + len(value) + FIELD_COST
        if self._header_bytes <= MAX_HEADER_BYTES:
            self._fields.append(HeaderField(name, value))

    def end_of_headers(self) -> None:
        """All header fields have come: start every look-up that they name."""
        if not self._judged or self._header_bytes > MAX_HEADER_BYTES:
            return
        setup = self._setup
        self._author = parse_author([field.value for field in self._fields if field.name.lower() == b"from"])
        self._dkim = DkimCheck(self._fields, setup.dkim, setup.now(), prefer=self._author.domains)
        authors = self._author.domains[: setup.rules.max_author_domains]
        spf_domain = to_alabel((self._mail_from or self._client.helo).rpartition("@")[2]) or ""
        for name in self._dkim.key_names:
            setup.resolver.start("TXT", name)
        for name in names_to_start(authors, spf_domain, self._dkim.domains):
            setup.resolver.start("TXT", name)

    def body(self, chunk: bytes) -> None:
        """Some of the body, lines ending in CRLF, cut anywhere."""
        if self._dkim:
            self._dkim.body(chunk)

    def finish(self) -> Outcome:
        """The end of the message: wait for what was started, decide."""
        setup = self._setup
        began = setup.monotonic()
        self._resolver.begin()
        if self._header_bytes > MAX_HEADER_BYTES:
            return self._refused(began, "header-size", f"the header is larger than {MAX_HEADER_BYTES} bytes")
        if self._judged and self._dkim is None:
            self.end_of_headers()  # nobody said that it ended: the message is judged all the same
        facts = self._facts()
        deferral = (self._mail_from, facts.author.domains)
        knowledge = knowledge_of(facts, setup.forwarders, setup.deferrals.age(deferral))
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
        return Outcome(facts, verdict, actions, (setup.monotonic() - began) * 1000)

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
            list_id=self._text(b"list-id"),
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

    def _text(self, name: bytes) -> str:
        for field in self._fields:
            if field.name.lower() == name:
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
