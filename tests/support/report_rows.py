"""Facts of messages for the tests of reports: plain ones, and whatever hypothesis comes up with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from authmilter.facts import (
    Author,
    Client,
    DkimFact,
    DkimResult,
    DmarcFact,
    DmarcResult,
    MessageFacts,
    Policy,
    PublishedPolicy,
    SpfFact,
    SpfResult,
)
from authmilter.verdict import Decision, Verdict

PUBLISHED = PublishedPolicy(Policy.REJECT, None, None, "r", "r", "0", "u", False, rua=("mailto:reports@shop.example",))
ACCEPT = Verdict(Decision.ACCEPT, "pass", "aligned")


def tags(**changes: Any) -> PublishedPolicy:
    """p=reject with an address for reports, and changes."""
    return replace(PUBLISHED, **changes)


def dmarc(result: DmarcResult = DmarcResult.PASS, **changes: Any) -> DmarcFact:
    """shop.example with its own record; SPF aligned if it passes."""
    plain = DmarcFact(
        result, "shop.example", "shop.example", Policy.REJECT, PUBLISHED, spf_aligned=result is DmarcResult.PASS
    )
    return replace(plain, **changes)


def message(*facts: DmarcFact, **changes: Any) -> MessageFacts:
    """A message with these DMARC facts from 192.0.2.10, signed by shop.example."""
    plain = MessageFacts(
        Client("192.0.2.10", "mail.shop.example", "mail.shop.example"),
        "news@bounce.shop.example",
        author=Author(tuple(fact.author_domain for fact in facts)),
        spf=(
            SpfFact("helo", SpfResult.NONE, "mail.shop.example", "mail.shop.example"),
            SpfFact("mfrom", SpfResult.PASS, "bounce.shop.example", "news@bounce.shop.example", "a", ""),
        ),
        dkim=(DkimFact(DkimResult.PASS, "shop.example", "s1", "@shop.example", "rsa-sha256"),),
        dmarc=facts,
    )
    return replace(plain, **changes)


DOMAINS = st.sampled_from(
    ["shop.example", "mail.shop.example", "xn--bcher-kva.example", "a.b.c.d.example", "_x.example"]
)
HOSTILE = st.one_of(
    st.text(max_size=300),
    st.sampled_from(
        ["</comment>", "]]>", "&amp;", "a\0b", "\x1b[2J", "\ud800", "\r\n", "<!ENTITY x>", "\u2028", "\ufffe"]
    ),
)
_POLICIES = st.sampled_from(list(Policy))


def _published(draw: Any) -> PublishedPolicy:
    return PublishedPolicy(
        draw(_POLICIES),
        draw(st.none() | _POLICIES),
        draw(st.none() | _POLICIES),
        draw(st.sampled_from("rs")),
        draw(st.sampled_from("rs")),
        draw(st.sampled_from(["0", "1", "d:s", "1:d:s"])),
        "u",
        draw(st.booleans()),
        rua=("mailto:reports@shop.example",),
    )


@st.composite
def messages(draw: Any) -> tuple[MessageFacts, Verdict]:
    """Any message that could have been judged, and any decision about it."""
    facts = tuple(
        DmarcFact(
            draw(st.sampled_from(list(DmarcResult))),
            author,
            draw(st.sampled_from(["shop.example", "example"])),
            draw(_POLICIES),
            draw(st.just(PUBLISHED) | st.none() | st.just(_published(draw))),
            draw(st.booleans()),
            draw(st.booleans()),
            draw(HOSTILE),
            draw(HOSTILE),
        )
        for author in draw(st.lists(DOMAINS, min_size=1, max_size=3, unique=True))
    )
    signatures = draw(
        st.lists(
            st.builds(
                DkimFact,
                st.sampled_from(list(DkimResult)),
                DOMAINS | st.just(""),
                HOSTILE,
                HOSTILE,
                HOSTILE,
                reason=HOSTILE,
            ),
            max_size=4,
        )
    )
    spf = draw(
        st.lists(
            st.builds(
                SpfFact,
                st.sampled_from(["mfrom", "helo"]),
                st.sampled_from(list(SpfResult)),
                DOMAINS | st.just(""),
                HOSTILE,
                HOSTILE,
                HOSTILE,
            ),
            max_size=2,
        )
    )
    ip = draw(st.sampled_from(["192.0.2.1", "2001:db8::1", "::", ""]))
    facts_of = MessageFacts(
        Client(ip, draw(HOSTILE), draw(HOSTILE)),
        draw(HOSTILE | st.just("a@shop.example") | st.just("a@bücher.example")),
        author=Author(tuple(fact.author_domain for fact in facts)),
        spf=tuple(spf),
        dkim=tuple(signatures),
        dmarc=facts,
        judged=draw(st.booleans() | st.just(True)),
        report=draw(st.booleans()),
    )
    verdict = Verdict(
        draw(st.sampled_from(list(Decision))),
        draw(st.sampled_from(["policy", "mailing-list", "bad-from", "forwarder"])),
        draw(HOSTILE),
        override=draw(st.sampled_from(["", "local_policy", "mailing_list", "trusted_forwarder"])),
        would_be=draw(st.none() | st.sampled_from(list(Decision))),
    )
    return facts_of, verdict
