"""SPF where its own test suite is silent: which identity, which record, limits, hostile explanations, other character
sets. RFC 7208, RFC 8616 §4, RFC 9989 §4.4.2."""

from __future__ import annotations

from typing import Any

import pytest

from authmilter.facts import SpfFact, SpfResult
from authmilter.spf.evaluate import SpfLimits, check_host
from mailcommon.dns.answer import Answer, Status
from tests.support.inbound import run_message, words
from tests.support.txt_resolver import TxtResolver
from tests.support.zone_resolver import ZoneResolver

IP4, IP6 = "192.0.2.1", "2001:db8::1"


def check(resolver: ZoneResolver, mail_from: str = "u@b.example", **changes: Any) -> SpfFact:
    arguments: dict[str, Any] = {
        "scope": "mfrom",
        "ip": IP4,
        "mail_from": mail_from,
        "helo": "h.example",
        "receiver": "r.example",
        "resolver": resolver,
    }
    return check_host(**{**arguments, **changes})


# Which identity


@pytest.mark.parametrize("sender", ["b.example", "@b.example", '""@b.example'])
def test_a_sender_without_local_part_is_postmaster(sender: str) -> None:
    """SPF-7."""
    resolver = TxtResolver({"b.example": "v=spf1 exists:%{l}.x.example -all"}, "postmaster.x.example 60 IN A 127.0.0.2")
    expected = "pass" if not sender.startswith('"') else "fail"  # an empty quoted string is a local part
    assert check(resolver, sender).result == expected


def test_the_null_sender_is_postmaster_at_helo() -> None:
    """SPF-1."""
    resolver = TxtResolver(
        {"h.example": "v=spf1 exists:%{l}.%{o}.%{s}.x.example -all"},
        "postmaster.h.example.postmaster@h.example.x.example 60 IN A 127.0.0.2",
    )
    fact = check(resolver, "")
    assert (fact.result, fact.domain, fact.identity) == ("fail", "h.example", "postmaster@h.example")
    assert resolver.queries[1] == ("A", "postmaster.h.example.postmaster@h.example.x.example")


def test_helo_is_checked_apart_and_reported_apart() -> None:
    """SPF-2."""
    resolver = TxtResolver({"b.example": "v=spf1 -all", "h.example": "v=spf1 +all"})
    outcome = run_message(b"From: u@h.example\r\n\r\n", resolver, helo="h.example", mail_from="u@b.example")
    assert [(fact.scope, fact.domain, fact.result) for fact in outcome.facts.spf] == [
        ("helo", "h.example", "pass"),
        ("mfrom", "b.example", "fail"),
    ]
    value = dict(outcome.actions.headers_add)["Authentication-Results"].replace("\n\t", " ")
    assert "spf=pass (mechanism +all) smtp.helo=h.example;" in value
    assert "spf=fail (mechanism -all) smtp.mailfrom=u@b.example;" in value


def test_helo_is_not_asked_for_if_it_is_not_wanted() -> None:
    resolver = TxtResolver({"b.example": "v=spf1 -all", "h.example": "v=spf1 +all"})
    outcome = run_message(
        b"From: u@h.example\r\n\r\n",
        resolver,
        helo="h.example",
        mail_from="u@b.example",
        tables={"spf": {"check_helo": False}},
    )
    assert [fact.scope for fact in outcome.facts.spf] == ["mfrom"]
    assert ("TXT", "h.example") not in resolver.queries + resolver.started


@pytest.mark.parametrize(
    ("mail_from", "dmarc"),
    [
        # SPF-2, DMARC-46: HELO passes, MAIL FROM does not
        ("u@b.example", "fail"),
        ("u@no-record.example", "fail"),
        ("u@[192.0.2.1]", "fail"),
        ("u", "fail"),
        # RFC 7208 §2.4: for the null sender HELO makes the MAIL FROM identity, and that counts
        ("", "pass"),
    ],
)
def test_a_helo_that_passes_never_counts_for_dmarc(mail_from: str, dmarc: str) -> None:
    resolver = TxtResolver(
        {"b.example": "v=spf1 -all", "h.example": "v=spf1 +all", "_dmarc.h.example": "v=DMARC1; p=reject"}
    )
    outcome = run_message(b"From: u@h.example\r\n\r\n", resolver, helo="h.example", mail_from=mail_from)
    assert words(outcome)["dmarc"] == dmarc
    assert words(outcome)["decision"] == ("accept" if dmarc == "pass" else "reject")


@pytest.mark.parametrize(
    ("mail_from", "domain"),
    [
        ('"a@b.evil.example"@b.example', "b.example"),
        ("a@evil.example@b.example", "b.example"),
        ("<(a@evil.example>@b.example", "b.example"),
        ("u@B.EXAMPLE.", "b.example"),
    ],
)
def test_the_last_at_sign_divides(mail_from: str, domain: str) -> None:
    resolver = TxtResolver({domain: "v=spf1 exists:%{o}.%{d}.x.example -all"}, f"{domain}.{domain}.x.example 9 IN A ::")
    fact = check(resolver, mail_from)
    assert (fact.result, fact.domain) == ("pass", domain)
    assert resolver.queries == [("TXT", domain), ("A", f"{domain}.{domain}.x.example")]


@pytest.mark.parametrize(
    "mail_from",
    ["u@", "u@example", "u@[192.0.2.1]", "u@[IPv6:::1]", "u@a..example", f"u@{'x' * 64}.example", "u@b_.ex ample"],
)
def test_what_is_no_domain_gives_none_without_a_query(mail_from: str) -> None:
    """SPF-6."""
    resolver = ZoneResolver()
    assert check(resolver, mail_from).result == "none"
    assert not resolver.queries


@pytest.mark.parametrize("character", ["\0", "\r\n", "\n", "\t", "\x1b", "\x7f", "\x08"])
def test_control_characters_in_an_identity_are_a_permerror(character: str) -> None:
    resolver = TxtResolver({"b.example": "v=spf1 +all"})
    for mail_from in (f"u{character}@b.example", f"u@b.example{character}", f"{character}u@b.example"):
        assert check(resolver, mail_from).result == "permerror"
    assert check(resolver, scope="helo", helo=f"b{character}.example").result == "permerror"
    assert check(resolver, "", helo=f"b.example{character}").result == "permerror"
    assert not resolver.queries
    # in a HELO that is not the identity they reach nothing but a macro
    fact = check(TxtResolver({"b.example": "v=spf1 exists:%{h}.x.example ~all"}), helo=f"a{character}b")
    assert fact.result == "softfail"


# Other character sets


@pytest.mark.parametrize(
    ("local", "term", "result"),
    [
        # SPF-47, RFC 8616 §4: such terms do not match, whatever the zone has; others do
        ("jürgen", "exists:%{l}.x.example", "fail"),
        ("jürgen", "exists:%{s}.x.example", "fail"),
        ("jürgen", "exists:%{L1r-}.x.example", "fail"),
        ("jürgen", "exists:%{d}.x.example", "pass"),
        ("jürgen", "include:%{l}.x.example", "fail"),
        ("jürgen", "-exists:%{l}.x.example +all", "pass"),
        ("jürgen", "a:%{l}.x.example mx:%{l}.x.example ptr:%{l}.x.example", "fail"),
        ("juergen", "exists:%{l}.x.example", "pass"),
        # and they do not hide what is wrong
        ("jürgen", "exists:%{l}.%{z}.example", "permerror"),
        ("jürgen", "exists:%{l", "permerror"),
    ],
)
def test_local_parts_that_are_not_ascii(local: str, term: str, result: str) -> None:
    assert check(Wildcard({"b.example": f"v=spf1 {term} -all"}), f"{local}@b.example").result == result


class Wildcard(TxtResolver):
    """Every name below x.example has an address."""

    def query(self, rdtype: str, name: str) -> Answer[Any]:
        if rdtype == "A" and name.endswith(".x.example"):
            return Answer(Status.OK, (IP4,))
        return super().query(rdtype, name)


def test_terms_that_cannot_be_asked_for_are_no_void_lookups() -> None:
    terms = " ".join(f"exists:%{{l}}.x{n}.example" for n in range(5))
    assert check(TxtResolver({"b.example": f"v=spf1 {terms} -all"}), "jürgen@b.example").result == "fail"
    assert check(TxtResolver({"b.example": f"v=spf1 {terms} -all"}), "juergen@b.example").result == "permerror"


@pytest.mark.parametrize("domain", ["bücher.example", "BÜCHER.example", "xn--bcher-kva.example", "bücher。example"])
def test_u_labels_are_looked_up_as_a_labels(domain: str) -> None:
    """SPF-48."""
    resolver = TxtResolver({"xn--bcher-kva.example": "v=spf1 exists:%{d}.x.example -all"})
    fact = check(resolver, f"u@{domain}")
    assert (fact.result, fact.domain) == ("fail", "xn--bcher-kva.example")
    assert resolver.queries == [
        ("TXT", "xn--bcher-kva.example"),
        ("A", "xn--bcher-kva.example.x.example"),
    ]


# Which record


@pytest.mark.parametrize(
    ("records", "result"),
    [
        # SPF-9
        (["v=spf1 -all"], "fail"),
        (["V=SPF1 -all"], "fail"),
        (["v=spf1  -all"], "fail"),
        (["v=spf1"], "neutral"),
        (["v=spf1 "], "neutral"),
        (["v=spf10 -all"], "none"),
        (["v=spf1-all"], "none"),
        (["v=spf1\t-all"], "none"),
        (["v=spf1\n"], "none"),
        ([" v=spf1 -all"], "none"),
        (["\tv=spf1 -all"], "none"),
        (["\xa0v=spf1 -all"], "none"),
        (['"v=spf1 -all"'], "none"),
        (["v =spf1 -all"], "none"),
        (["spf2.0/pra -all"], "none"),
        (["v=spf2 -all"], "none"),
        (["v=DMARC1; p=none"], "none"),
        # SPF-10
        (["x", "v=spf1 -all", "y"], "fail"),
        (["v=spf1 -all", "v=spf10 +all"], "fail"),
        (["v=spf1 -all", " v=spf1 +all"], "fail"),
        (["v=spf1 -all", "v=spf1 +all"], "permerror"),
        (["v=spf1 -all", "V=SPF1 -ALL"], "permerror"),
        (["v=spf1", "v=spf1 -all"], "permerror"),
        ([f"v=spf1 ip4:10.0.0.{n} -all" for n in range(250)], "permerror"),
        ([f"noise {n}" for n in range(300)], "none"),
        ([*(f"noise {n}" for n in range(300)), "v=spf1 -all"], "fail"),
        # RFC 7208 §4.5: what is not US-ASCII is a syntax error in an SPF record, and nothing elsewhere
        (["v=spf1 -all \xe9"], "permerror"),
        (["\xff\xfe", "v=spf1 -all"], "fail"),
    ],
)
def test_which_record_counts(records: list[str], result: str) -> None:
    fact = check(TxtResolver({"b.example": records}))
    assert fact.result == result, fact
    included = check(TxtResolver({"b.example": "v=spf1 include:c.example ?all", "c.example": records}))
    # SPF-28: none and permerror of an included record are a permerror
    assert included.result == ("permerror" if result in ("none", "permerror") else "neutral")


@pytest.mark.parametrize(
    ("terms", "result"),
    [
        # SPF-13
        ("+ip4:192.0.2.1 -all", "pass"),
        ("ip4:192.0.2.1 -all", "pass"),
        ("-ip4:192.0.2.1 +all", "fail"),
        ("~ip4:192.0.2.1 +all", "softfail"),
        ("?ip4:192.0.2.1 +all", "neutral"),
        ("IP4:192.0.2.1 -ALL", "pass"),
        ("-All", "fail"),
        ("~ALL", "softfail"),
        ("?all", "neutral"),
        ("all", "pass"),
        ("-A:h.example all", "fail"),
        ("-MX:m.example all", "fail"),
        ("~Exists:h.example all", "softfail"),
        ("~Include:p.example all", "softfail"),
        ("-Include:f.example ~all", "softfail"),
        ("Redirect=f.example", "fail"),
        ("--all", "permerror"),
        ("!all", "permerror"),
        ("=all", "permerror"),
        ("+ all", "permerror"),
        ("all:x", "permerror"),
    ],
)
def test_qualifiers_and_letter_case(terms: str, result: str) -> None:
    zone = "h.example 9 IN A 192.0.2.1\nm.example 9 IN MX 1 h.example"
    resolver = TxtResolver(
        {"b.example": f"v=spf1 {terms}", "p.example": "v=spf1 +all", "f.example": "v=spf1 -all"}, zone
    )
    assert check(resolver).result == result


def test_current_domain_and_senders_domain() -> None:
    """SPF-42: %{d} changes inside include and redirect, %{o} never does."""
    texts = {
        "b.example": "v=spf1 exists:1.%{d}.%{o} include:c.example redirect=e.example",
        "c.example": "v=spf1 exists:2.%{d}.%{o} include:d.example -all",
        "d.example": "v=spf1 exists:3.%{d}.%{o} -all",
        "e.example": "v=spf1 exists:4.%{d}.%{o} -all exp=%{d}.%{o}",
        "e.example.b.example": "%{d} of %{o}",
    }
    resolver = TxtResolver(texts)
    fact = check(resolver, limits=SpfLimits(max_void_lookups=10))
    assert [name for rdtype, name in resolver.queries if rdtype == "A"] == [
        "1.b.example.b.example",
        "2.c.example.b.example",
        "3.d.example.b.example",
        "4.e.example.b.example",
    ]
    assert (fact.result, fact.explanation) == ("fail", "e.example of b.example")


@pytest.mark.parametrize(
    ("terms", "result"),
    [
        # RFC 7208 §6, SPF-12, SPF-33: known modifiers once, others as often as they like
        ("m=1 m=2 m=%{d} n.o-p_q=x -all", "fail"),
        ("a=b -all", "fail"),
        ("m= -all", "fail"),
        ("m=%{p} -all", "fail"),
        ("m=%{z} -all", "permerror"),
        ("m=%{c} -all", "permerror"),
        ("m=% -all", "permerror"),
        ("-all m=%{d", "permerror"),
        ("1m=x -all", "permerror"),
        ("exp=e.example exp=e.example -all", "permerror"),
        ("exp=e.example EXP=e.example -all", "permerror"),
        ("redirect=f.example Redirect=f.example", "permerror"),
        ("exp= -all", "permerror"),
        ("redirect=", "permerror"),
        ("redirect=f.example ?all", "neutral"),
        ("REDIRECT=f.example", "fail"),
        ("default=pass", "neutral"),
    ],
)
def test_modifiers(terms: str, result: str) -> None:
    resolver = TxtResolver({"b.example": f"v=spf1 {terms}", "f.example": "v=spf1 -all"})
    assert check(resolver).result == result
    assert "PTR" not in {rdtype for rdtype, _ in resolver.queries}


# Limits


@pytest.mark.parametrize(("count", "result"), [(1, "pass"), (10, "pass"), (11, "permerror"), (40, "permerror")])
@pytest.mark.parametrize(("ip", "rdtype"), [(IP4, "A"), (IP6, "AAAA")])
def test_more_than_ten_mx_names_are_a_permerror(count: int, result: str, ip: str, rdtype: str) -> None:
    """SPF-19: not the first ten of them."""
    zone = "".join(f"b.example 9 IN MX {n} m{n}.example\nm{n}.example 9 IN {rdtype} {ip}\n" for n in range(count))
    resolver = ZoneResolver(zone + 'c.example 9 IN TXT "v=spf1 mx:b.example -all"')
    assert check(resolver, "u@c.example", ip=ip).result == result


@pytest.mark.parametrize("ip", [IP4, IP6])
@pytest.mark.parametrize(
    ("terms", "void"),
    [
        # SPF-21, SPF-22: what counts as one look-up without an answer
        ("a:n1.example", 1),
        ("a:n1.example a:n2.example", 2),
        ("a:n1.example a:n2.example a:n3.example", 3),
        ("exists:n1.example mx:n2.example a:n3.example", 3),
        ("a:empty.example a:empty.example a:empty.example", 3),
        ("a:dangling.example exists:n1.example mx:empty.example", 3),
        ("a:full.example mx:full.example a:n1.example a:n2.example", 2),
        # the names of an MX are asked for in the client's family only: one each
        ("mx:mx1.example", 1),
        ("mx:mx2.example", 2),
        ("mx:mx3.example", 3),
        # no term caused it
        ("exp=n1.example ip4:10.0.0.1 ip6:::7 x=%{d}", 0),
    ],
)
def test_void_lookups(ip: str, terms: str, void: int) -> None:
    zone = "empty.example 9 IN NS ns.example\ndangling.example 9 IN CNAME nowhere.example\n"
    zone += "full.example 9 IN A 10.0.0.1\nfull.example 9 IN AAAA ::7\nfull.example 9 IN MX 1 full.example\n"
    for count in (1, 2, 3):
        zone += "".join(f"mx{count}.example 9 IN MX {n} void{n}.example\n" for n in range(count))
    resolver = TxtResolver({"b.example": f"v=spf1 {terms} ~all"}, zone)
    for allowed in range(4):
        result = check(resolver, ip=ip, limits=SpfLimits(max_void_lookups=allowed)).result
        assert result == ("softfail" if void <= allowed else "permerror"), f"{allowed} allowed"
    unwanted = "AAAA" if ip == IP4 else "A"
    asked = [(rdtype, name) for rdtype, name in resolver.queries if rdtype == unwanted]
    assert all(name == "n1.example" for _, name in asked)  # exists: always asks for A


@pytest.mark.parametrize("target", ["nowhere.example", "empty.example"])
@pytest.mark.parametrize("term", ["include:{} ~all", "redirect={}"])
def test_include_and_redirect_to_nothing_are_permerrors(term: str, target: str) -> None:
    """SPF-28, SPF-35."""
    resolver = TxtResolver({"b.example": f"v=spf1 {term.format(target)}"}, "empty.example 9 IN A 10.0.0.1")
    assert check(resolver).result == "permerror"


def test_ptr_names_count_as_void_lookups_in_one_family() -> None:
    zone = "".join(f"1.2.0.192.in-addr.arpa 9 IN PTR p{n}.example\n" for n in range(10))
    zone += "p3.example 9 IN A 192.0.2.1\n"
    resolver = TxtResolver({"b.example": "v=spf1 ptr:p3.example -all"}, zone)
    assert check(resolver).result == "permerror"
    assert check(resolver, limits=SpfLimits(max_void_lookups=10)).result == "pass"
    assert not [name for rdtype, name in resolver.queries if rdtype == "AAAA"]


def test_only_ten_ptr_names_are_looked_at() -> None:
    """SPF-20."""
    names = [f"p{n}.example" for n in range(20)]
    zone = "".join(f"1.2.0.192.in-addr.arpa 9 IN PTR {name}\n{name} 9 IN A 192.0.2.1\n" for name in names)
    for place, result in ((0, "pass"), (9, "pass"), (10, "fail"), (19, "fail")):
        resolver = TxtResolver({"b.example": f"v=spf1 ptr:p{place}.example -all"}, zone)
        assert check(resolver).result == result
        assert sum(rdtype == "A" for rdtype, _ in resolver.queries) == 10


class Slow(TxtResolver):
    """Each query takes `seconds` of a clock of its own."""

    seconds = 0.0
    now = 1000.0

    def query(self, rdtype: str, name: str) -> Answer[Any]:
        self.now += self.seconds
        return super().query(rdtype, name)


@pytest.mark.parametrize(
    ("seconds", "limits", "result", "queries"),
    [
        # SPF-23
        (1.9, SpfLimits(), "fail", 11),
        (2.1, SpfLimits(), "temperror", 10),
        (5.0, SpfLimits(), "temperror", 5),
        (19.9, SpfLimits(), "temperror", 2),
        (5.0, SpfLimits(seconds=55), "fail", 11),
    ],
)
def test_the_deadline_of_one_evaluation(seconds: float, limits: SpfLimits, result: str, queries: int) -> None:
    zone = "".join(f"a{n}.example 9 IN A 10.0.0.1\n" for n in range(10))
    resolver = Slow({"b.example": "v=spf1 " + " ".join(f"a:a{n}.example" for n in range(10)) + " -all"}, zone)
    resolver.seconds = seconds
    fact = check(resolver, limits=limits, clock=lambda: resolver.now)
    assert (fact.result, len(resolver.queries)) == (result, queries)
    assert fact.result != "temperror" or "no result within 20 s" in fact.reason


# DNS failures


@pytest.mark.parametrize("fault", ["servfail", "timeout", "bogus"])
@pytest.mark.parametrize(
    ("terms", "failing", "result"),
    [
        # SPF-8, SPF-24
        ("-all", "b.example TXT", "temperror"),
        ("a:x.example +all", "x.example A", "temperror"),
        ("mx:x.example +all", "x.example MX", "temperror"),
        ("mx:m.example +all", "x.example A", "temperror"),
        ("exists:x.example +all", "x.example A", "temperror"),
        ("include:x.example +all", "x.example TXT", "temperror"),
        ("redirect=x.example", "x.example TXT", "temperror"),
        # SPF-27: what stands behind the match is not asked for
        ("+all a:x.example", "x.example A", "pass"),
        ("ip4:192.0.2.1 include:x.example", "x.example TXT", "pass"),
        # SPF-37
        ("-all exp=x.example", "x.example TXT", "fail"),
        # SPF-30, RFC 7208 §5.5: no match, whoever it is who fails
        ("ptr ?all", "1.2.0.192.in-addr.arpa PTR", "neutral"),
        ("ptr:x.example ?all", "x.example A", "neutral"),
        ("ptr:y.example ?all", "x.example A", "pass"),
        ("exists:%{p}.z.example -all", "1.2.0.192.in-addr.arpa PTR", "fail"),
    ],
)
def test_dns_failures(fault: str, terms: str, failing: str, result: str) -> None:
    zone = f"{failing} {fault}\nm.example 9 IN MX 1 x.example\ny.example 9 IN A 192.0.2.1\n"
    zone += "1.2.0.192.in-addr.arpa 9 IN PTR x.example\n1.2.0.192.in-addr.arpa 9 IN PTR y.example\n"
    zone += f'b.example 9 IN TXT "v=spf1 {terms}"\n'
    fact = check(ZoneResolver(zone))
    assert fact.result == result, fact
    assert (f"DNS {fault}" in fact.reason) == (result == "temperror")


# The domain's own words


@pytest.mark.parametrize(
    ("texts", "explanation"),
    [
        # SPF-36 to SPF-38
        (["See %{d} for %{i} at %{r}"], "See b.example for 192.0.2.1 at r.example"),
        (["x" * 400], "x" * 400),
        (["x" * 401], "x" * 400),
        (["x" * 60_000], "x" * 400),
        (["one", "two"], ""),
        (["not ascii: \xe9"], ""),
        (["%{z}"], ""),
        (["%{d"], ""),
        (["100%"], ""),
        (["%{l}" * 15_000], ("u" * 400)),
        ([""], ""),
    ],
)
def test_explanations(texts: list[str], explanation: str) -> None:
    resolver = TxtResolver({"b.example": "v=spf1 -all exp=e.example", "e.example": texts})
    fact = check(resolver)
    assert (fact.result, fact.explanation) == ("fail", explanation)


@pytest.mark.parametrize("terms", ["?all", "~all", "+all", "redirect=n.example", "a:s.example -all"])
def test_explanations_are_only_fetched_after_a_fail(terms: str) -> None:
    resolver = TxtResolver({"b.example": f"v=spf1 {terms} exp=e.example", "e.example": "text"}, "s.example A servfail")
    assert check(resolver).explanation == ""
    assert ("TXT", "e.example") not in resolver.queries


def test_an_explanation_reaches_neither_header_nor_reply() -> None:
    text = "\r\nX-Evil: yes\r\n%s%n (\x1b[2J"
    resolver = TxtResolver(
        {
            "b.example": "v=spf1 -all exp=e.example",
            "e.example": text.replace("%", "%%"),
            "_dmarc.b.example": "v=DMARC1; p=reject",
        }
    )
    tables = {"spf": {"received_spf": True}}
    outcome = run_message(b"From: u@b.example\r\n\r\n", resolver, mail_from="u@b.example", tables=tables)
    assert outcome.facts.spf[-1].explanation == text
    assert outcome.actions.reply
    for written in (str(outcome.actions.reply), *(value for _, value in outcome.actions.headers_add)):
        assert "Evil" not in written
        assert "\r" not in written
        assert "\x1b" not in written


# Addresses


@pytest.mark.parametrize(
    ("ip", "terms", "result"),
    [
        # SPF-25, SPF-26
        ("192.0.2.1", "ip4:192.0.2.0/24 -all", "pass"),
        ("::ffff:192.0.2.1", "ip4:192.0.2.0/24 -all", "pass"),
        ("::ffff:c000:201", "ip4:192.0.2.1 -all", "pass"),
        ("::ffff:192.0.2.1", "ip6:::ffff:192.0.2.1 -all", "fail"),
        ("::ffff:192.0.2.1", "a:x.example -all", "pass"),
        ("::ffff:192.0.2.1", "exists:%{i}.%{v}.x.example -all", "pass"),
        ("2001:db8::1", "ip6:2001:db8::/32 -all", "pass"),
        ("2001:DB8:0:0::1", "ip6:2001:db8::1 -all", "pass"),
        ("2001:db8::1", "ip4:192.0.2.1 -all", "fail"),
        ("2001:db8::1", "a:x.example//64 -all", "pass"),
        ("2001:db8::1", "a:x.example/0 -all", "fail"),
        ("192.0.2.1", "a:x.example//0 -all", "pass"),
        ("192.0.2.77", "a:x.example//0 -all", "fail"),
    ],
)
def test_addresses(ip: str, terms: str, result: str) -> None:
    zone = "x.example 9 IN A 192.0.2.1\nx.example 9 IN AAAA 2001:db8::2\n192.0.2.1.in-addr.x.example 9 IN A 127.0.0.2\n"
    assert check(TxtResolver({"b.example": f"v=spf1 {terms}"}, zone), ip=ip).result == result


def test_any_record_gives_a_word() -> None:
    """A fault of the library on odd text is a permerror."""
    for text in ("v=spf1 a/99999999999999999999" + "9" * 5000, "v=spf1 ip6:" + ":" * 5000, "v=spf1 \x00", "v=spf1 :"):
        fact = check(TxtResolver({"b.example": text}))
        assert isinstance(fact.result, SpfResult)
        assert fact.result == "permerror", text[:40]


TEN_TERMS = " ".join(f"a:a{n}.example" for n in range(10))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (f"v=spf1 {TEN_TERMS} -all redirect=other.example", SpfResult.FAIL),
        (f"v=spf1 redirect=other.example {TEN_TERMS} -ALL", SpfResult.FAIL),
        (f"v=spf1 {TEN_TERMS} redirect=other.example", SpfResult.PERMERROR),
        ("v=spf1 -all redirect=other.example redirect=other.example", SpfResult.PERMERROR),
        ("v=spf1 -all redirect=a..%x", SpfResult.PERMERROR),
        ("v=spf1 -all redirect=", SpfResult.PERMERROR),
        ("v=spf1 -all redirect=%{c}.example", SpfResult.PERMERROR),
    ],
)
def test_redirect_beside_all_is_ignored_but_read(record: str, expected: SpfResult) -> None:
    """RFC 7208 §6.1, §4.6.4: it is no look-up; §4.6: its syntax counts all the same."""
    addresses = "\n".join(f"a{n}.example. 60 IN A 198.51.100.1" for n in range(10))
    zone = ZoneResolver(f'sender.example. 60 IN TXT "{record}"\n{addresses}\n')
    fact = check_host(
        scope="mfrom", ip="192.0.2.1", mail_from="a@sender.example", helo="h", receiver="r", resolver=zone
    )
    assert fact.result is expected, fact
