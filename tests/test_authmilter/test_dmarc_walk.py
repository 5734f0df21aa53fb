"""The DNS Tree Walk: which names are asked, and where a name belongs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authmilter.dmarc.evaluate import names_to_start
from authmilter.dmarc.policy import discover
from authmilter.dmarc.record import Record
from authmilter.dmarc.walk import Book, find_organization, is_existing, walk_names
from mailcommon.dns.answer import Answer, Status
from tests.support.zone_resolver import ZoneResolver

PLAIN = "v=DMARC1; p=none"


def zone(**records: str) -> str:
    """Zone text: names with underscores for dots, the content of their DMARC record."""
    return "\n".join(f'_dmarc.{name.replace("_", ".")} 300 IN TXT "{text}"' for name, text in records.items())


def organization(domain: str, **records: str) -> str:
    return find_organization(domain, Book(ZoneResolver(zone(**records)))).domain


def asked(domain: str, **records: str) -> list[str]:
    resolver = ZoneResolver(zone(**records))
    find_organization(domain, Book(resolver))
    return [name.removeprefix("_dmarc.") for rdtype, name in resolver.queries if rdtype == "TXT"]


def test_eight_queries_of_the_standard() -> None:
    # RFC 9989 §4.10
    assert asked("a.b.c.d.e.f.g.h.i.j.mail.example.com") == [
        "a.b.c.d.e.f.g.h.i.j.mail.example.com",
        "g.h.i.j.mail.example.com",
        "h.i.j.mail.example.com",
        "i.j.mail.example.com",
        "j.mail.example.com",
        "mail.example.com",
        "example.com",
        "com",
    ]


def test_record_out_of_reach() -> None:
    # RFC 9989 §5.1.8
    records = {"b_c_d_e_f_g_example_com": "v=DMARC1; p=reject; psd=n", "example_com": PLAIN}
    assert asked("mail.a.b.c.d.e.f.g.example.com", **records) == [
        "mail.a.b.c.d.e.f.g.example.com",
        "c.d.e.f.g.example.com",
        "d.e.f.g.example.com",
        "e.f.g.example.com",
        "f.g.example.com",
        "g.example.com",
        "example.com",
        "com",
    ]
    assert organization("mail.a.b.c.d.e.f.g.example.com", **records) == "example.com"


@pytest.mark.parametrize(
    ("labels", "asked_labels"),
    [
        (1, [1]),
        (2, [2, 1]),
        (7, [7, 6, 5, 4, 3, 2, 1]),
        (8, [8, 7, 6, 5, 4, 3, 2, 1]),
        (9, [9, 7, 6, 5, 4, 3, 2, 1]),
        (40, [40, 7, 6, 5, 4, 3, 2, 1]),
    ],
)
def test_how_many_labels(labels: int, asked_labels: list[int]) -> None:
    names = walk_names(".".join(f"l{number}" for number in range(labels)))
    assert [name.count(".") + 1 for name in names] == asked_labels
    assert all(names[0].endswith(name) for name in names)


@given(st.lists(st.from_regex(r"\A[a-z]{1,3}\Z"), min_size=1, max_size=60).map(".".join))
def test_never_more_than_eight(domain: str) -> None:
    names = asked(domain)
    assert len(names) == len(set(names)) == min(8, domain.count(".") + 1)
    assert names == list(walk_names(domain))


def test_first_example_fewest_labels() -> None:
    # RFC 9989 §4.10.2
    assert organization("a.mail.example.com", mail_example_com=PLAIN, example_com=PLAIN) == "example.com"
    assert asked("a.mail.example.com", mail_example_com=PLAIN, example_com=PLAIN)[-1] == "com"


def test_second_example_psd_n() -> None:
    # RFC 9989 §4.10.2
    records = {"mail_example_com": PLAIN + "; psd=n", "example_com": PLAIN}
    assert organization("a.mail.example.com", **records) == "mail.example.com"
    assert asked("a.mail.example.com", **records) == ["a.mail.example.com", "mail.example.com"]


def test_third_example_psd_y() -> None:
    # RFC 9989 §4.10.2
    assert organization("a.mail.example.com", com=PLAIN + "; psd=y") == "example.com"


@pytest.mark.parametrize(
    ("domain", "records", "expected"),
    [
        ("a.example.com", {}, "a.example.com"),
        ("com", {}, "com"),
        ("a.example.com", {"com": PLAIN}, "com"),
        ("a.example.com", {"a_example_com": PLAIN + "; psd=n", "example_com": PLAIN}, "a.example.com"),
        # the name where the walk starts is no public suffix to itself
        ("bank.example", {"bank_example": PLAIN + "; psd=y"}, "bank.example"),
        ("a.bank.example", {"bank_example": PLAIN + "; psd=y", "example": PLAIN}, "a.bank.example"),
        ("a.b.bank.example", {"bank_example": PLAIN + "; psd=y", "a_b_bank_example": PLAIN}, "b.bank.example"),
        # psd=u is the default
        ("a.example.com", {"a_example_com": PLAIN + "; psd=u", "example_com": PLAIN}, "example.com"),
        # the psd of a record with a broken policy counts
        ("a.b.example", {"b_example": "v=DMARC1; p=broken; psd=n", "example": PLAIN}, "b.example"),
        # the label below a public suffix of seven labels was never asked for
        ("a.b.c.s7.s6.s5.s4.s3.s2.s1", {"s7_s6_s5_s4_s3_s2_s1": PLAIN + "; psd=y"}, "c.s7.s6.s5.s4.s3.s2.s1"),
    ],
)
def test_where_a_name_belongs(domain: str, records: dict[str, str], expected: str) -> None:
    assert organization(domain, **records) == expected


def test_several_records_at_a_name_count_as_none_and_the_walk_goes_on() -> None:
    resolver = ZoneResolver(
        """
        _dmarc.a.example.com 300 IN TXT "v=DMARC1; p=none; psd=n"
        _dmarc.a.example.com 300 IN TXT "v=DMARC1; p=reject"
        _dmarc.example.com 300 IN TXT "v=DMARC1; p=none"
        """
    )
    book = Book(resolver)
    assert find_organization("a.example.com", book).domain == "example.com"
    assert book.faults == {"a.example.com": "there are 2 DMARC records"}


def test_strings_of_a_record_are_joined() -> None:
    resolver = ZoneResolver('_dmarc.example.com 300 IN TXT "v=DMA" "RC1; p=no" "ne; psd=n"')
    assert find_organization("a.example.com", Book(resolver)).domain == "example.com"


def test_alias_at_the_record_is_followed() -> None:
    resolver = ZoneResolver(
        """
        _dmarc.example.com 300 IN CNAME policy.provider.example
        policy.provider.example 300 IN TXT "v=DMARC1; p=none"
        """
    )
    assert find_organization("a.example.com", Book(resolver)).domain == "example.com"


def test_a_name_is_asked_once() -> None:
    resolver = ZoneResolver()
    book = Book(resolver)
    for domain in ("a.example.com", "b.example.com", "example.com", "a.example.com"):
        find_organization(domain, book)
    assert len(resolver.queries) == 4


@pytest.mark.parametrize(
    ("answer", "exists"),
    [
        (Answer(Status.OK, (b"x",)), True),
        (Answer(Status.NODATA), True),
        (Answer(Status.NXDOMAIN), False),
        (Answer(Status.NXDOMAIN, alias=True), True),
    ],
)
def test_existence(answer: Answer[bytes], exists: bool) -> None:
    assert is_existing(answer) is exists


def test_names_to_start() -> None:
    assert names_to_start(("a.example.com",), "bounce.example.com", ["example.com", "esp.example", "other.com"]) == [
        "_dmarc.a.example.com",
        "_dmarc.example.com",
        "_dmarc.com",
        "_dmarc.bounce.example.com",
    ]
    assert names_to_start((), "", []) == []
    assert len(names_to_start(("a.b",), "c.a.b", [f"d{number}.a.b" for number in range(1000)])) == 2 + 1 + 10
    assert all(
        name in names_to_start(("a.b.c.d.e.f.g.h.i.j",), "", [])
        for name in ("_dmarc.a.b.c.d.e.f.g.h.i.j", "_dmarc.d.e.f.g.h.i.j", "_dmarc.j")
    )


# A second reading of the standard, step by step and without any thought of cost.

Tree = dict[str, str]  # name -> psd of its one record


def naive_walk(start: str, tree: Tree) -> list[tuple[str, str]]:
    """RFC 9989 §4.10: (name, psd) of each record found."""
    found = []
    target = start
    first = True
    while True:
        if target in tree:
            found.append((target, tree[target]))
            if tree[target] in ("n", "y"):
                return found
        labels = target.split(".")
        if first and len(labels) >= 8:
            while len(labels) > 7:
                labels.pop(0)
        else:
            labels.pop(0)
        first = False
        if not labels:
            return found
        target = ".".join(labels)


def naive_organization(start: str, tree: Tree) -> str:
    """RFC 9989 §4.10.2."""
    records = sorted(naive_walk(start, tree), key=lambda record: -len(record[0].split(".")))
    for name, psd in records:
        if psd == "n":
            return name
        if psd == "y" and name != start:
            below = [start]
            while below[-1] != name:
                below.append(below[-1].split(".", 1)[1])
            return below[-2]
    if records:
        return min(records, key=lambda record: len(record[0].split(".")))[0]
    return start


def naive_policy_domain(author: str, tree: Tree) -> str:
    """RFC 9989 §4.10.1: Author Domain, then Organizational Domain, then Public Suffix Domain; "" for none."""
    if author in tree:
        return author
    labels = author.split(".")
    start = ".".join(labels[1:] if len(labels) <= 8 else labels[-7:])
    found = dict(naive_walk(start, tree)) if start else {}
    organization = naive_organization(author, tree)
    if organization in found:
        return organization
    return next((name for name, psd in found.items() if psd == "y"), "")


class TreeRecords:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    def at(self, name: str) -> Record | None:
        return Record(psd=self.tree[name]) if name in self.tree else None


@st.composite
def trees(draw: st.DrawFn) -> tuple[str, Tree]:
    """A name and records at some of the names above it."""
    labels = draw(st.lists(st.sampled_from("ab"), min_size=1, max_size=12))
    names = [".".join(labels[start:]) for start in range(len(labels))]
    kinds = draw(st.lists(st.sampled_from(["", "", "u", "u", "n", "y"]), min_size=len(names), max_size=len(names)))
    return names[0], {name: kind for name, kind in zip(names, kinds, strict=True) if kind}


@given(trees())
def test_organization_as_in_the_standard(tree: tuple[str, Tree]) -> None:
    domain, records = tree
    assert find_organization(domain, TreeRecords(records)).domain == naive_organization(domain, records)


@given(trees())
def test_policy_domain_as_in_the_standard(tree: tuple[str, Tree]) -> None:
    domain, records = tree
    discovery = discover(domain, TreeRecords(records))
    assert (discovery.domain if discovery else "") == naive_policy_domain(domain, records)
    assert discovery is None or discovery.own == (discovery.domain == domain)
