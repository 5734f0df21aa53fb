"""One TXT record, tag by tag."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authmilter.dmarc.policy import objection, published
from authmilter.dmarc.record import Record, parse
from authmilter.dmarc.walk import select_record
from authmilter.facts import Policy


def good(text: str) -> Record:
    record = parse(text.encode())
    assert record is not None
    assert record.fault == ""
    return record


@pytest.mark.parametrize(
    "text",
    [
        "v=DMARC1",  # valid by itself
        "v=DMARC1;",
        "v = DMARC1 ; p=none",
        "v\t=\tDMARC1\t;\tp=none",
        " v=DMARC1; p=none",
        "V=DMARC1; p=none",  # the name is a literal without case (RFC 5234 §2.3)
    ],
)
def test_is_a_record(text: str) -> None:
    good(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v",
        "v=",
        "v=dmarc1; p=none",  # the value has its case
        "v=DMARC2; p=none",
        "v=DMARC1.0; p=none",
        "v=DMARC1 p=none",
        "v=DMARC1, p=none",
        "vv=DMARC1; p=none",
        "p=none; v=DMARC1",  # not the first
        "; v=DMARC1; p=none",
        "v=spf1 -all",
        '"v=DMARC1; p=none"',
        "\ufeffv=DMARC1; p=none",
    ],
)
def test_is_no_record(text: str) -> None:
    assert parse(text.encode()) is None


def test_defaults() -> None:
    record = good("v=DMARC1; p=reject")
    assert (record.p, record.sp, record.np) == (Policy.REJECT, None, None)
    assert (record.adkim, record.aspf, record.fo, record.psd, record.t) == ("r", "r", "0", "u", False)
    assert record.rua.usable == record.ruf.usable == ()


def test_order_is_free_and_case_does_not_matter() -> None:
    record = good("v=DMARC1;T=Y;psd=N;NP=Reject;sp=QUARANTINE;adkim=S;aspf=s;rua=MAILTO:a@B.example;P=None")
    assert (record.p, record.sp, record.np) == (Policy.NONE, Policy.QUARANTINE, Policy.REJECT)
    assert (record.adkim, record.aspf, record.psd, record.t) == ("s", "s", "n", True)
    assert record.rua.usable == ("mailto:a@b.example",)


def test_unknown_and_historic_tags_are_ignored() -> None:
    record = good("v=DMARC1; p=reject; pct=0; rf=afrf; ri=3600; x=y; x=z; pct=50; junk; =; ;; a b=c; ü=ü")
    assert replace(record, pct=100) == good("v=DMARC1; p=reject")


@pytest.mark.parametrize(
    ("tag", "attribute", "default"),
    [
        ("adkim=x", "adkim", "r"),
        ("aspf=", "aspf", "r"),
        ("psd=yes", "psd", "u"),
        ("t=1", "t", False),
        ("fo=2; ruf=mailto:a@b.example", "fo", "0"),
        ("adkim=s\x01", "adkim", "r"),
        ("aspf=sü", "aspf", "r"),
        ("sp=rejectt", "sp", None),
    ],
)
def test_bad_value_falls_to_its_default(tag: str, attribute: str, default: object) -> None:
    record = good(f"v=DMARC1; {tag}; p=reject")
    assert getattr(record, attribute) == default
    assert record.p is Policy.REJECT
    assert tag.partition("=")[0] in record.invalid


@pytest.mark.parametrize(
    "twice", ["p=none; p=reject", "p=reject; P=reject", "rua=mailto:a@b.example; rua=x", "v=DMARC1"]
)
def test_tag_twice(twice: str) -> None:
    record = parse(f"v=DMARC1; sp=none; {twice}".encode())
    assert record is not None
    assert "twice" in record.fault


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", "0"),
        ("1", "1"),
        ("d", "d"),
        ("d:s", "d:s"),
        ("0:d", "0:d"),
        ("S : D : 1", "s:d:1"),
        ("0:1", "0"),
        ("d:d", "0"),
        ("d:s:0:1", "0"),
        ("d:", "0"),
        ("", "0"),
        ("d:s:1:0:d:s:d", "0"),
    ],
)
def test_failure_options(value: str, expected: str) -> None:
    assert good(f"v=DMARC1; p=none; fo={value}; ruf=mailto:a@b.example").fo == expected


def test_failure_options_without_ruf_are_ignored() -> None:
    assert good("v=DMARC1; p=none; fo=1:d:s").fo == "0"
    assert good("v=DMARC1; p=none; fo=1:d:s; ruf=nothing").fo == "0"


@pytest.mark.parametrize(
    ("value", "usable", "valid"),
    [
        ("mailto:a@b.example", ("mailto:a@b.example",), True),
        ("mailto:a@b.example!10m", ("mailto:a@b.example",), True),
        ("mailto:a@b.example!10,mailto:c@d.example!5G", ("mailto:a@b.example", "mailto:c@d.example"), True),
        (" mailto:a@b.example , mailto:c@d.example ", ("mailto:a@b.example", "mailto:c@d.example"), True),
        (
            "mailto:a@b.example,mailto:A@b.example,mailto:a@B.example",
            ("mailto:a@b.example", "mailto:A@b.example"),
            True,
        ),
        ("mailto:a%2Cb%21c@b.example", ("mailto:a,b!c@b.example",), True),
        ("mailto:a@b.example?subject=x", ("mailto:a@b.example",), True),
        ("mailto:a@b%C3%BCcher.example", ("mailto:a@xn--bcher-kva.example",), True),
        ("https://b.example/report", (), True),  # a URI, of a scheme that is ignored
        ("https://b.example/x,mailto:a@b.example", ("mailto:a@b.example",), True),
        ("mailto:a@b.example!10x", (), False),
        ("mailto:a!b@b.example", (), False),
        ("a@b.example", (), False),
        ("mailto:0", (), False),
        ("mailto:@b.example", (), False),
        ("mailto:a@", (), False),
        ("mailto:a@localhost", (), False),
        ("mailto:a@[192.0.2.1]", (), False),
        ("mailto:a%0D%0ABcc:x@b.example", (), False),
        ("mailto:a b@b.example", (), False),
        ("mailto:a%2@b.example", (), False),
        (",,", (), False),
        ("", (), False),
    ],
)
def test_uris(value: str, usable: tuple[str, ...], valid: bool) -> None:
    record = good(f"v=DMARC1; p=none; rua={value}")
    assert record.rua.usable == usable
    assert record.rua.valid is valid


def test_uris_are_bounded() -> None:
    many = ",".join(f"mailto:a{number}@b.example" for number in range(1000))
    assert good(f"v=DMARC1; p=none; rua={many}").rua.usable == tuple(f"mailto:a{n}@b.example" for n in range(20))


# RFC 9989 §4.10.1, second list
@pytest.mark.parametrize(
    ("text", "p", "complaint"),
    [
        ("v=DMARC1", None, "no p"),
        ("v=DMARC1; p=rejct", None, "p cannot be read"),
        ("v=DMARC1; p=", None, "p cannot be read"),
        ("v=DMARC1; p=reject; sp=x", None, "sp cannot"),
        ("v=DMARC1; p=reject; np=x", None, "np cannot"),
        ("v=DMARC1; p=x; np=x", None, "np and p"),
        ("v=DMARC1; p=reject; sp=x; rua=nothing", None, "sp cannot"),
        ("v=DMARC1; rua=mailto:a@b.example", Policy.NONE, "no p"),
        ("v=DMARC1; p=rejct; rua=mailto:a@b.example", Policy.NONE, "p cannot"),
        ("v=DMARC1; p=reject; sp=x; rua=mailto:a@b.example", Policy.NONE, "sp cannot"),
        ("v=DMARC1; p=reject; sp=reject; np=x; rua=https://b.example/", Policy.NONE, "np cannot"),
        ("v=DMARC1; p=reject; sp=none", Policy.REJECT, ""),
    ],
)
def test_record_without_a_usable_policy(text: str, p: Policy | None, complaint: str) -> None:
    record = good(text)
    tags = published(record)
    assert (tags.p if tags else None) is p
    assert complaint in objection(record)
    if complaint:
        assert objection(record)
        assert tags is None or (tags.sp, tags.np) == (None, None)


def test_no_failure_reports_for_a_public_suffix() -> None:
    text = "v=DMARC1; p=none; rua=mailto:a@b.example; ruf=mailto:c@b.example; psd="
    public, private = published(good(text + "y")), published(good(text + "n"))
    assert public is not None
    assert private is not None
    assert (public.rua, public.ruf) == (("mailto:a@b.example",), ())
    assert private.ruf == ("mailto:c@b.example",)


# RFC 9989 §B.2
EXAMPLES = {
    "v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com": (Policy.NONE, 1, 0, False),
    "v=DMARC1; p=none; rua=mailto:dmarc-feedback@example.com; ruf=mailto:auth-reports@example.com": (
        Policy.NONE,
        1,
        1,
        False,
    ),
    "v=DMARC1; p=quarantine; rua=mailto:dmarc-feedback@example.com,mailto:tld-test@thirdparty.example.net; t=y": (
        Policy.QUARANTINE,
        2,
        0,
        True,
    ),
    "v=DMARC1;": (None, 0, 0, False),
}


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_of_the_standard(text: str) -> None:
    record = good(text)
    assert (record.p, len(record.rua.usable), len(record.ruf.usable), record.t) == EXAMPLES[text]


def test_several_records_count_as_none() -> None:
    spf, one, two = b"v=spf1 -all", b"v=DMARC1; p=none", b"v=DMARC1; p=reject"
    assert select_record((spf,)) is None
    assert select_record((spf, one)) == parse(one)
    several = select_record((one, spf, two))
    assert several is not None
    assert several.fault == "there are 2 DMARC records"
    equal = select_record((one, one))
    assert equal is not None
    assert equal.fault


def test_large_answers() -> None:
    assert select_record((b"v=DMARC1; p=none",) + (b"x" * 255,) * 300) == parse(b"v=DMARC1; p=none")
    assert good("v=DMARC1; p=reject" + ";" * 60_000 + "p=none").p is Policy.REJECT


TAGS = {
    "p": st.sampled_from(["none", "quarantine", "reject"]),
    "sp": st.sampled_from(["none", "quarantine", "reject"]),
    "np": st.sampled_from(["none", "quarantine", "reject"]),
    "adkim": st.sampled_from("rs"),
    "aspf": st.sampled_from("rs"),
    "psd": st.sampled_from("ynu"),
    "t": st.sampled_from("yn"),
    "unknown": st.text("abc 123", min_size=1, max_size=5),
}
blank = st.text(" \t", max_size=2)


@given(st.fixed_dictionaries({}, optional=TAGS), st.randoms(use_true_random=False), blank, blank)
def test_what_was_written_is_read(tags: dict[str, str], random: Random, before: str, after: str) -> None:
    pieces = [f"{name}{before}={after}{value}" for name, value in tags.items()]
    random.shuffle(pieces)
    record = good(f"{before};{after}".join(["v=DMARC1", *pieces, ""]))
    assert (record.p, record.sp, record.np) == tuple(
        Policy(tags[name]) if name in tags else None for name in ("p", "sp", "np")
    )
    assert record.adkim == tags.get("adkim", "r")
    assert record.aspf == tags.get("aspf", "r")
    assert record.psd == tags.get("psd", "u")
    assert record.t == (tags.get("t") == "y")
    assert not record.invalid


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda rest: b"v=DMARC1;" + rest)))
def test_any_bytes(txt: bytes) -> None:
    record = parse(txt)
    assert record is None or isinstance(record, Record)
    if record is not None:
        published(record)


@given(st.lists(st.sampled_from(["rua=", "mailto:", "@", "b.example", ",", "!", "%", "%2C", ";", "10m", "ü", "="])))
def test_any_uris(pieces: list[str]) -> None:
    record = parse(("v=DMARC1; rua=" + "".join(pieces)).encode())
    assert record is not None
