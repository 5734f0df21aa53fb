"""parse_author on what nobody thought of: against the standard library's parser, on any bytes, and on very much."""

from __future__ import annotations

import inspect
import time
from email import headerregistry
from email.utils import getaddresses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authmilter.author import MAX_DOMAINS, parse_author
from mailcommon.names import to_alabel

ATEXT = "abcXYZ019!#$%&'*+/=^_`{|}~-"
QTEXT = ATEXT + " ,:;<>@()[]."

atoms = st.text(ATEXT, min_size=1, max_size=8)
# newer versions give nothing for a list in which they count more commas than addresses, those in comments included
LENIENT = {"strict": False} if "strict" in inspect.signature(getaddresses).parameters else {}

quoted = st.text(QTEXT, max_size=12).map(lambda text: f'"{text}"')
quoted_pairs = st.text(ATEXT + ' "\\', max_size=8).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)
labels = st.from_regex(r"\A[a-z]([a-z0-9-]{0,6}[a-z0-9])?\Z")
domains = st.lists(labels, min_size=1, max_size=4).map(".".join)
locals_ = st.one_of(st.lists(atoms, min_size=1, max_size=3).map(".".join), quoted)
comments = st.text(ATEXT + " ,:;<>@.", max_size=8).map(lambda text: f"({text})")
blanks = st.sampled_from([" ", "  ", "\t", "\r\n ", " \r\n\t"])
phrases = st.lists(st.one_of(atoms, quoted, quoted_pairs), min_size=1, max_size=3).map(" ".join)


@st.composite
def mailboxes(draw: st.DrawFn) -> tuple[str, str]:
    """A valid mailbox and its domain."""
    domain = draw(domains)
    address = f"{draw(locals_)}@{domain}"
    blank = draw(blanks)
    match draw(st.integers(0, 3)):
        case 0:
            return address, domain
        case 1:
            return f"{address}{blank}{draw(comments)}", domain
        case 2:
            return f"{draw(comments)}{blank}<{address}>", domain
        case _:
            return f"{draw(phrases)}{blank}<{address}>", domain


lists = st.lists(mailboxes(), min_size=1, max_size=5)


@given(lists, blanks)
def test_valid_list(boxes: list[tuple[str, str]], blank: str) -> None:
    text = f",{blank}".join(box for box, _ in boxes)
    author = parse_author([f"{blank}{text}".encode()])
    assert author.problem == ""
    assert list(author.domains) == list(dict.fromkeys(domain for _, domain in boxes))


@given(lists, blanks)
def test_as_the_standard_library(boxes: list[tuple[str, str]], blank: str) -> None:
    text = f",{blank}".join(box for box, _ in boxes)
    unfolded = text.replace("\r\n", "")
    header = headerregistry.HeaderRegistry()("From", unfolded)
    assert isinstance(header, headerregistry.AddressHeader)
    theirs = {address.domain.lower() for address in header.addresses}
    assert set(parse_author([text.encode()]).domains) == theirs
    assert set(parse_author([text.encode()]).domains) == {
        address.rpartition("@")[2].lower() for _, address in getaddresses([unfolded], **LENIENT)
    }


@given(phrases, lists, lists)
def test_groups(phrase: str, members: list[tuple[str, str]], others: list[tuple[str, str]]) -> None:
    text = f"{phrase}: {', '.join(box for box, _ in members)};, {', '.join(box for box, _ in others)}"
    author = parse_author([text.encode()])
    assert author.problem == ""
    assert list(author.domains) == list(dict.fromkeys(domain for _, domain in members + others))


SPECIALS = st.sampled_from(
    [*'<>@,:;"()[]\\.', "\r\n ", "\0", "=?utf-8?Q?", "=?utf-8?B?", "?=", "a", "b.example", "ü", " ", "\udcff"]
)


def is_sound(fields: list[bytes]) -> None:
    author = parse_author(fields)
    assert author.domains or author.problem, "never a quiet none"
    assert all(to_alabel(domain) == domain for domain in author.domains)
    assert len(author.domains) <= MAX_DOMAINS
    assert len(set(author.domains)) == len(author.domains)
    author.problem.encode("utf-8")  # raises if bytes of the message came through as surrogates
    if len(fields) != 1:
        assert author.problem


@given(st.lists(st.binary(max_size=80), max_size=3))
def test_any_bytes(fields: list[bytes]) -> None:
    is_sound(fields)


@given(st.lists(SPECIALS, max_size=40).map("".join))
def test_any_marks(text: str) -> None:
    is_sound([text.encode("utf-8", "surrogateescape")])


@given(st.lists(SPECIALS, max_size=12).map("".join), st.lists(SPECIALS, max_size=12).map("".join))
def test_a_plain_address_is_never_lost(before: str, after: str) -> None:
    """Whatever is around it: it is seen, or the field has a problem."""
    text = f"{before} <ceo@legitimate.example> {after}"
    author = parse_author([text.encode("utf-8", "surrogateescape")])
    # quoted or commented out it is display text
    hidden = '"' in before or "(" in before or "\\" in before
    assert "legitimate.example" in author.domains or author.problem or hidden


MANY = 1_000_000
HOSTILE = {
    "open quote": b'"' * (MANY - 1),
    "open comments": b"(" * MANY,
    "nested comments": b"(" * 60_000 + b")" * 60_000 + b"a@b.example",
    "comments": b"()" * (MANY // 2),
    "comments with text": b"(a" * (MANY // 2),
    "escapes in open comments": b"(\\" * 60_000,
    "backslashes": b"\\" * MANY,
    "brackets": b"<" * MANY,
    "literals": b"[" * 130_000,
    "encoded words": b"=?a?q?" * 20_000,
    "open parentheses in encoded words": b"=?a?q?(" * 18_000,
    "encoded words of commas": b"=?a?q?" + b"," * 120_000,
    "blanks": b" " * MANY,
    "blanks after text": b"@a" + b" " * 130_000 + b"x",
    "blanks after @": b"@" + b" " * 130_000,
    "runs of blanks": (b" " * 300 + b"x") * 400,
    "folds": b"\r\n " * 43_000,
    "line ends": b"\r\n" * 65_000,
    "dots": b"@" + b". " * 60_000,
    "@": b"@" * MANY,
    "words": b"a " * 65_000,
    "words and @": b"@a " * 43_000,
    "commas": b"," * 130_000,
    "names of numbers": b",".join(b"x@d.%d" % number for number in range(60_000)),
    "many fields' worth": b"a@b.example," * 80_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_size_is_bounded_in_time(name: str) -> None:
    began = time.process_time()
    is_sound([HOSTILE[name]])
    assert time.process_time() - began < 1.5, "0.1 s are usual; what is quadratic takes 20 s"


def test_thousand_addresses() -> None:
    same = b", ".join(b'"Name %d" <name.%d@a.example>' % (number, number) for number in range(1000))
    assert parse_author([same]).domains == ("a.example",)
    assert parse_author([same]).problem == ""
    different = b", ".join(b"<a@d%d.example>" % number for number in range(1000))
    author = parse_author([different])
    assert author.domains == tuple(f"d{number}.example" for number in range(50))
    assert "more than 50 domains" in author.problem
    assert parse_author([different], max_domains=3).domains == ("d0.example", "d1.example", "d2.example")


def test_fifty_domains_are_no_problem() -> None:
    author = parse_author([b", ".join(b"<a@d%d.example>" % number for number in range(50))])
    assert len(author.domains) == 50
    assert author.problem == ""


def test_many_fields_are_bounded_in_time() -> None:
    began = time.process_time()
    author = parse_author([b"a@a.example, " * 10_000] * 30 + [b"b@b.example"])
    assert author.domains == ("a.example", "b.example")
    assert author.problem == "there are 31 From header fields"
    assert time.process_time() - began < 1.5
