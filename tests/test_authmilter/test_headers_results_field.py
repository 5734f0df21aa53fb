"""Authentication-Results as it is written: the text for known facts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from authmilter.facts import (
    Author,
    Client,
    DkimFact,
    DkimResult,
    DmarcFact,
    DmarcResult,
    IprevFact,
    IprevResult,
    MessageFacts,
    Policy,
    PublishedPolicy,
    SpfFact,
    SpfResult,
)
from authmilter.headers.results_field import render_results, unique_prefixes
from authmilter.headers.results_reader import parse_results

PUBLISHED = PublishedPolicy(Policy.REJECT, None, None, "r", "r", "0", "u", False)
SIGNATURE = DkimFact(
    DkimResult.PASS, "example.net", "s2026", "@example.net", "rsa-sha256", "dzdVyOfAKCdLXdJOc9G2q8LoXSlEniSb", 2048
)
NORMAL = MessageFacts(
    Client("192.0.2.25", "mail.example.net", "mail.example.net"),
    "alice@example.net",
    author=Author(("example.net",)),
    iprev=IprevFact(IprevResult.PASS, "192.0.2.25", "mail.example.net"),
    spf=(
        SpfFact("mfrom", SpfResult.PASS, "example.net", "alice@example.net", "ip4:192.0.2.0/24"),
        SpfFact("helo", SpfResult.NONE, "mail.example.net", "mail.example.net", reason="no SPF record"),
    ),
    dkim=(SIGNATURE,),
    dmarc=(DmarcFact(DmarcResult.PASS, "example.net", "example.net", Policy.REJECT, PUBLISHED, True, True),),
)
NOTHING = MessageFacts(Client("192.0.2.25"), "")


def test_normal_mail() -> None:
    assert render_results("mx.example.org", NORMAL) == (
        "mx.example.org;\n"
        "\tiprev=pass policy.iprev=192.0.2.25 (mail.example.net);\n"
        "\tspf=pass (mechanism ip4:192.0.2.0/24) smtp.mailfrom=alice@example.net;\n"
        '\tspf=none reason="no SPF record" smtp.helo=mail.example.net;\n'
        "\tdkim=pass (2048-bit key) header.d=example.net header.i=@example.net\n"
        "\theader.s=s2026 header.a=rsa-sha256 header.b=dzdVyOfA;\n"
        "\tdmarc=pass (p=reject) header.from=example.net policy.dmarc=reject"
    )


def test_spoof() -> None:
    fact = DmarcFact(
        DmarcResult.FAIL,
        "news.bank.example",
        "bank.example",
        Policy.QUARANTINE,
        replace(PUBLISHED, sp=Policy.REJECT, np=Policy.REJECT, testing=True),
        reason="neither SPF nor DKIM is aligned",
    )
    facts = replace(
        NOTHING,
        iprev=IprevFact(IprevResult.PERMERROR, "2001:db8::bad", reason="no PTR record"),
        dkim=(DkimFact(DkimResult.NONE),),
        dmarc=(fact,),
    )
    assert render_results("mx.example.org", facts, "quarantine by policy") == (
        "mx.example.org;\n"
        '\tiprev=permerror reason="no PTR record" policy.iprev="2001:db8::bad";\n'
        "\tdkim=none;\n"
        "\tdmarc=fail\n"
        "\t(p=reject sp=reject np=reject t=y at bank.example, quarantine by policy)\n"
        '\treason="neither SPF nor DKIM is aligned" header.from=news.bank.example\n'
        "\tpolicy.dmarc=quarantine"
    )


@pytest.mark.parametrize(
    ("facts", "value"),
    [
        (NOTHING, "mx.example.org; none"),
        (replace(NORMAL, judged=False), "mx.example.org; none"),
        (
            replace(NORMAL, judged=False, client=Client("192.0.2.7", auth_user="Bob@example.org", auth_method="PLAIN")),
            "mx.example.org;\n\tauth=pass (PLAIN) smtp.auth=Bob@example.org",
        ),
        (
            replace(NOTHING, client=Client("192.0.2.7", auth_user="Bob.Smith")),
            "mx.example.org;\n\tauth=pass smtp.auth=Bob.Smith",
        ),
        (
            replace(NOTHING, client=Client("192.0.2.7", auth_user="CORP\\bob; x=y")),
            'mx.example.org;\n\tauth=pass smtp.auth="CORP\\\\bob; x=y"',
        ),
        # a From that cannot be evaluated is no quiet "none"
        (
            replace(NOTHING, author=Author((), "two From fields")),
            'mx.example.org;\n\tdmarc=permerror reason="two From fields"',
        ),
        # the null sender: RFC 7208 §2.4
        (
            replace(NOTHING, spf=(SpfFact("mfrom", SpfResult.PASS, "h.example", "postmaster@h.example", "a"),)),
            "mx.example.org;\n\tspf=pass (mechanism a) smtp.mailfrom=postmaster@h.example",
        ),
        (
            replace(NOTHING, spf=(SpfFact("helo", SpfResult.NONE, "", "[192.0.2.1]"),)),
            'mx.example.org;\n\tspf=none smtp.helo="[192.0.2.1]"',
        ),
        # a record without a policy for this domain has no policy.dmarc
        (
            replace(NOTHING, dmarc=(DmarcFact(DmarcResult.NONE, "example.net", reason="no record"),)),
            'mx.example.org;\n\tdmarc=none reason="no record" header.from=example.net',
        ),
        (
            replace(NOTHING, notes=("12 further signatures were not looked at",), dkim=(DkimFact(DkimResult.NONE),)),
            "mx.example.org;\n\tdkim=none\n\t(12 further signatures were not looked at)",
        ),
    ],
)
def test_known_values(facts: MessageFacts, value: str) -> None:
    assert render_results("mx.example.org", facts) == value


@pytest.mark.parametrize(
    ("authserv_id", "written"),
    [
        ("mx.example.org", "mx.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("a b;c", '"a b;c"'),
        ("host/7", '"host/7"'),
    ],
)
def test_authserv_id(authserv_id: str, written: str) -> None:
    assert render_results(authserv_id, NOTHING) == f"{written}; none"


# CVE-2020-12272 and its relatives: what a signature or an envelope may try to write into our field
HOSTILE = [
    "legit.example(.attack.example",
    "legit.example).attack.example",
    "legit.example; dmarc=pass header.from=bank.example",
    "legit.example\r\nAuthentication-Results: mx.example.org; dmarc=pass",
    "legit.example\n\tdmarc=pass",
    "legit.example\0.attack.example",
    'legit.example" dmarc=pass',
    '"legit.example',
    "legit.example\\",
    "((((((((((",
    "))))))))))",
    "=?utf-8?q?=3B_dmarc=3Dpass?=",
    "лegit.example",
    "legit.example\u202e",
    "legit.example\udcff",
    "a" * 1000,
    "a." * 500,
    " ",
    "",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("smtputf8", [False, True])
@pytest.mark.parametrize("template", ["{}", "user@{}", "{}@example.net", '"{}"@example.net', "@{}"])
def test_hostile_text_writes_nothing_of_its_own(text: str, smtputf8: bool, template: str) -> None:
    hostile = template.format(text)
    facts = MessageFacts(
        Client(hostile, hostile, hostile, hostile, hostile),
        hostile,
        smtputf8,
        Author((), hostile),
        IprevFact(IprevResult.FAIL, hostile, hostile, hostile),
        (SpfFact("mfrom", SpfResult.FAIL, hostile, hostile, hostile, hostile, hostile),),
        (DkimFact(DkimResult.FAIL, hostile, hostile, hostile, hostile, hostile, 0, False, hostile, (hostile,)),),
        (DmarcFact(DmarcResult.FAIL, hostile, hostile, Policy.NONE, PUBLISHED, reason=hostile),),
        notes=(hostile,),
    )
    value = render_results("mx.example.org", facts, hostile)
    assert not set(value) & {"\r", "\0"}
    assert smtputf8 or value.isascii()
    assert all(line[:1] == "\t" or line[:1] == " " for line in value.split("\n")[1:])
    results = parse_results(value.encode())
    assert results is not None
    assert [(result.method, result.result) for result in results.results] == [
        ("iprev", "fail"),
        *([("auth", "pass")] if hostile else []),
        ("spf", "fail"),
        ("dkim", "fail"),
        ("dmarc", "fail"),
    ]
    for result in results.results:
        for name in ("header.d", "header.s", "header.from"):
            assert set(result.get(name)) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_")


@pytest.mark.parametrize(
    ("signatures", "shown"),
    [
        ([], []),
        (["abcdefghijkl"], ["abcdefgh"]),
        (["short"], ["short"]),
        (["abcdefghX1", "abcdefghY1"], ["abcdefghX", "abcdefghY"]),
        (["abcdefghijkX", "abcdefghijkY", "zbcdefghijk"], ["abcdefghijkX", "abcdefghijkY", "zbcdefgh"]),
        (["abcdefgh", "abcdefghY1"], ["abcdefgh", "abcdefghY"]),
        (["abc", "abc"], ["abc", "abc"]),
        (["abcdefghij", "abcdefghij"], ["abcdefgh", "abcdefgh"]),
        (["", "abcdefghij", ""], ["", "abcdefgh", ""]),
        (["a" * 900 + "x", "a" * 900 + "y"], ["a" * 8, "a" * 8]),  # a line has an end
    ],
)
def test_header_b(signatures: list[str], shown: list[str]) -> None:
    assert unique_prefixes(signatures) == shown


def test_base64_of_header_b_is_quoted() -> None:
    value = render_results("x", replace(NOTHING, dkim=(replace(SIGNATURE, b="ab/d+f=="),)))
    assert value.endswith('header.b="ab/d+f=="')


def test_too_many_results() -> None:
    signature = replace(SIGNATURE, reason="r" * 250, identity="i" * 250 + "@example.net")
    facts = replace(NORMAL, dkim=(SIGNATURE, *[signature] * 100))
    value = render_results("mx.example.org", facts)
    assert len(value) < 16_384
    results = parse_results(value.encode())
    assert results is not None
    methods = [result.method for result in results.results]
    assert methods[-1] == "dmarc"
    kept = methods.count("dkim")
    assert 1 < kept < 101
    assert results.results[3].get("header.b") == "dzdVyOfA"
    assert value.endswith(f"({101 - kept} results left out)")
