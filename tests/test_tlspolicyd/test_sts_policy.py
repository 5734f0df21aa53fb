"""The MTA-STS policy text (RFC 8461 §3.2): what is a policy, what it says, and that no text can do harm."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailcommon.names import is_hostname
from tlspolicyd.facts import Mode
from tlspolicyd.sts.policy import MAX_AGE, MAX_OCTETS, match_mx, parse, shown

EXAMPLE = (  # RFC 8461 §3.2, the example
    "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmx: backupmx.example.com\r\n"
    "max_age: 604800\r\n"
)
BASE = "version: STSv1\nmode: enforce\nmax_age: 60\n"


def mx_of(text: str) -> tuple[str, ...]:
    reading = parse(text.encode())
    assert reading.policy is not None, reading.reason
    return reading.policy.mx


def reason_of(text: str | bytes) -> str:
    reading = parse(text.encode() if isinstance(text, str) else text)
    assert reading.policy is None
    assert reading.reason.isascii()
    return reading.reason


def test_the_example_of_the_rfc() -> None:
    policy = parse(EXAMPLE.encode()).policy
    assert policy is not None
    assert policy.mode is Mode.ENFORCE
    assert policy.mx == ("mail.example.com", "*.example.net", "backupmx.example.com")
    assert policy.max_age == 604800
    assert policy.lines == tuple(EXAMPLE.split("\r\n")[:-1])


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE,
        EXAMPLE.replace("\r\n", "\n"),
        EXAMPLE.removesuffix("\r\n"),
        EXAMPLE.replace("\r\n", "\n", 3),  # mixed
        EXAMPLE.replace("\r\n", " \t \r\n"),
        EXAMPLE.replace(": ", ":"),
        EXAMPLE.replace(": ", ":\t  "),
        EXAMPLE + "\r\n\r\n",  # Deviates: blank lines are skipped
        "\n" + EXAMPLE,
    ],
    ids=["crlf", "lf", "no-end", "mixed", "trailing-blanks", "no-blank", "tabs", "blank-lines", "blank-first"],
)
def test_sts16_line_ends_and_white_space(text: str) -> None:
    assert parse(text.encode()) == parse(EXAMPLE.encode())


@pytest.mark.parametrize("end", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\r\r\n"])
def test_sts16_nothing_else_ends_a_line(end: str) -> None:
    assert parse(EXAMPLE.replace("\r\n", end).encode()).policy is None


@pytest.mark.parametrize("mode", list(Mode))
def test_sts17_modes(mode: Mode) -> None:
    policy = parse(EXAMPLE.replace("enforce", mode.value).encode()).policy
    assert policy is not None
    assert policy.mode is mode


def test_sts17_mode_none_needs_no_mx() -> None:
    assert mx_of("version: STSv1\nmode: none\nmax_age: 60\n") == ()
    for mode in ("enforce", "testing"):
        assert f"mode {mode} without an mx" in reason_of(f"version: STSv1\nmode: {mode}\nmax_age: 60\n")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("version: STSv1\r\n", "", "no version"),
        ("STSv1", "STSv2", "is not STSv1"),
        ("STSv1", "stsv1", "is not STSv1"),
        ("STSv1", "", "is not STSv1"),
        ("version", "Version", "no version"),
        ("mode: enforce\r\n", "", "no mode"),
        ("enforce", "Enforce", "none of"),
        ("enforce", "report", "none of"),  # of an early draft
        ("enforce", "", "none of"),
        ("mode: ", "mode : ", "line 2"),
        ("mode: ", " mode: ", "line 2"),
        ("mode: ", "Mode: ", "no mode"),
        ("max_age: 604800\r\n", "", "no max_age"),
        ("604800", "", "1 to 10 digits"),
        ("604800", "-1", "1 to 10 digits"),
        ("604800", "+1", "1 to 10 digits"),
        ("604800", "1.5", "1 to 10 digits"),
        ("604800", "1 2", "1 to 10 digits"),
        ("604800", "1_000", "1 to 10 digits"),
        ("604800", "0x10", "1 to 10 digits"),
        ("604800", "12345678901", "1 to 10 digits"),
        ("604800", "٣", "1 to 10 digits"),
        ("604800", "week", "1 to 10 digits"),
        ("mx: mail", "mx mail", "line 3"),
        ("mx: mail", ": mail", "line 3"),
        ("mx: mail", "# mail", "line 3"),
        ("mx: mail", "_x: mail", "line 3"),
        ("mx: mail", "é: mail", "line 3"),
        ("mx: mail", "x" * 33 + ": mail", "line 3"),
        ("version", "\ufeffversion", "byte order mark"),
    ],
)
def test_sts17_sts21_texts_that_are_not_valid(old: str, new: str, words: str) -> None:
    assert words in reason_of(EXAMPLE.replace(old, new, 1))


@pytest.mark.parametrize(
    ("digits", "seconds"),
    [
        ("0", 0),
        ("1", 1),
        ("0000000060", 60),
        ("31557600", MAX_AGE),
        ("31557601", MAX_AGE),
        ("9999999999", MAX_AGE),
    ],
)
def test_sts18_max_age(digits: str, seconds: int) -> None:
    policy = parse(EXAMPLE.replace("604800", digits).encode()).policy
    assert policy is not None
    assert policy.max_age == seconds


@pytest.mark.parametrize(
    "line",
    ["foo: bar", "foo:", "foo: ", "mx2: x", "MX: *", "a_b-c.d: é ü", "foo: a:b", "x" * 32 + ": y", "foo: \x01", "1: 2"],
)
def test_sts19_unknown_fields_are_ignored(line: str) -> None:
    assert mx_of(f"{line}\n{EXAMPLE}{line}\n") == mx_of(EXAMPLE)


def test_sts19_octets_that_are_no_utf8_in_unknown_fields() -> None:
    assert parse(b"foo: \xff\xfe\n" + EXAMPLE.encode()).policy is not None
    assert parse(b"foo\xff: x\n" + EXAMPLE.encode()).policy is None


@pytest.mark.parametrize("line", ["mode: none", "mode: rubbish", "max_age: 0", "max_age:", "version: STSv2"])
def test_sts19_of_a_repeated_field_the_first_counts(line: str) -> None:
    policy = parse(f"{EXAMPLE}{line}\n".encode()).policy
    assert policy is not None
    assert (policy.mode, policy.max_age) == (Mode.ENFORCE, 604800)
    first = parse(f"{line}\n{EXAMPLE}".encode()).policy
    assert first is None or (first.mode, first.max_age) != (Mode.ENFORCE, 604800)


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        ("mx.example", "mx.example"),
        ("MX.Example", "mx.example"),
        ("mx.example.", "mx.example"),
        ("*.example", "*.example"),
        ("*.EXAMPLE.", "*.example"),
        ("localhost", "localhost"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.BÜCHER.example", "*.xn--bcher-kva.example"),
        ("1.2.3.example", "1.2.3.example"),
    ],
)
def test_sts20_patterns(value: str, pattern: str) -> None:
    reading = parse(f"{BASE}mx: {value}\n".encode())
    assert reading.policy is not None
    assert reading.policy.mx == (pattern,)
    assert bool(reading.notes) is (not value.isascii())


@pytest.mark.parametrize(
    "value",
    [
        "",
        "*",
        "*.",
        "**.example",
        "*.*.example",
        "m*.example",
        "mx.*.example",
        "*mx.example",
        ".example",
        "mx..example",
        "mx.example..",
        "-mx.example",
        "mx-.example",
        "m_x.example",
        "mx.example mx2.example",
        "mx.example, mx2.example",
        "mx.example:25",
        "[192.0.2.1]",
        "2001:db8::1",
        "mx.example\x00",
        "mx.example}",
        "mx.example\tmatch=evil",
        "a" * 64 + ".example",
        "a." * 130 + "example",
        "\u2028.example",
        "mx。.example",
    ],
)
def test_sts20_sts21_one_bad_pattern_makes_the_policy_invalid(value: str) -> None:
    assert "is not a host name" in reason_of(f"{EXAMPLE}mx: {value}\n")


def test_an_address_as_pattern_is_left_out_since_no_mx_host_matches_it() -> None:
    reading = parse(f"{BASE}mx: 192.0.2.1\nmx: mx.example\n".encode())
    assert reading.policy is not None
    assert reading.policy.mx == ("mx.example",)
    assert "192.0.2.1" in reading.notes[0]
    assert "without an mx" in reason_of(f"{BASE}mx: 192.0.2.1\n")


def test_a_pattern_counts_once() -> None:
    assert mx_of(f"{BASE}mx: b.example\nmx: A.example\nmx: a.example.\nmx: B.example") == ("b.example", "a.example")


@pytest.mark.parametrize(
    ("pattern", "host", "matches"),
    [
        ("*.example.com", "mail.example.com", True),  # RFC 8461 §4.1, the three examples
        ("*.example.com", "example.com", False),
        ("*.example.com", "foo.bar.example.com", False),
        ("mail.example.com", "mail.example.com", True),
        ("mail.example.com", "MAIL.example.COM.", True),
        ("mail.example.com", "xmail.example.com", False),
        ("mail.example.com", "a.mail.example.com", False),
        ("example.com", "mail.example.com", False),
        ("*.example.com", ".example.com", False),
        ("*.example.com", "*.example.com", False),
        ("*.com", "example.com", True),
        ("*.com", "com", False),
        ("*.xn--bcher-kva.example", "mx.BÜCHER.example", True),
        ("mail.example.com", "", False),
        ("mail.example.com", ".", False),
    ],
)
def test_sts22_matching(pattern: str, host: str, matches: bool) -> None:
    assert match_mx([pattern], host) is matches
    assert match_mx(["other.invalid", pattern, "*.other.invalid"], host) is matches


def test_sts22_no_pattern_matches_nothing() -> None:
    assert not match_mx([], "mx.example")


@pytest.mark.parametrize(
    "line",
    [
        "x: } match=evil.example",
        "x: { policy_string = mode: none }",
        "x: a\x00b",
        "x: a\x1bb",
        "x: a\x7fb",
        "x: a\rb",
        "x: ünïcode",
        "x: \u202e",
    ],
)
def test_pfx37_lines_that_could_do_harm_are_not_kept(line: str) -> None:
    reading = parse(f"{EXAMPLE}{line}\n".encode())
    assert reading.policy is not None
    assert reading.policy.lines == tuple(EXAMPLE.split("\r\n")[:-1])
    assert "left out of reports" in reading.notes[0]


def test_lines_are_kept_with_unknown_and_repeated_fields() -> None:
    policy = parse(b"version:STSv1\nmode:\tnone \nmax_age:   60\nfoo: a,b = c # d\nmode: enforce\nmx: A.example").policy
    assert policy is not None
    assert policy.lines == (
        "version: STSv1",
        "mode: none",
        "max_age: 60",
        "foo: a,b = c # d",
        "mode: enforce",
        "mx: A.example",
    )


def test_limits() -> None:
    many = "".join(f"mx: mx{number}.example\n" for number in range(300))
    assert len(mx_of(BASE + many)) == 300
    assert "300 mx" in reason_of(f"{BASE}{many}mx: one-more.example\n")
    long_name = ".".join(["a" * 60] * 4)
    assert "characters" in reason_of(BASE + "".join(f"mx: m{number}.{long_name}\n" for number in range(70)))
    assert "octets" in reason_of(b"x" * (MAX_OCTETS + 1))
    assert "lines" in reason_of(BASE + "\n" * 2001)
    assert parse((BASE + "mx: a.example\n" + "x: y\n" * 1900).encode()).policy is not None


def test_all_that_is_kept_fits_an_answer_to_postfix() -> None:
    """socketmap_table(5): at most 100,000 octets; each pattern stands there twice, each line once."""
    text = BASE + "".join(f"mx: {'a' * 40}{number}.example\n" for number in range(300)) + f"x: {'y' * 100}\n" * 400
    reading = parse(text.encode())
    assert reading.policy is not None
    size = sum(2 * len(pattern) + 18 for pattern in reading.policy.mx)
    size += sum(len(line) + 24 for line in reading.policy.lines)
    assert size < 90_000
    assert any("too long" in note for note in reading.notes)


@given(st.binary(max_size=300))
def test_any_octets(body: bytes) -> None:
    check(body)


# fmt: off
_pieces = st.sampled_from([
    "version", "mode", "mx", "max_age", ":", " ", "\n", "\r\n", "\r", "STSv1", "enforce", "none", "60", "*.", "*",
    "{", "}", "a.example", "bücher.example", ".", "\x00", "\ufeff", "\t", "=", "192.0.2.1",
    "version: STSv1\n", "mode: enforce\n", "max_age: 60\n", "mx: a.example\n", "mx: ",
])
# fmt: on


@given(st.lists(_pieces, max_size=25).map("".join))
def test_any_pieces_of_policies(text: str) -> None:
    check(text.encode())


def check(body: bytes) -> None:
    """What holds for every text."""
    reading = parse(body)
    assert (reading.policy is None) == bool(reading.reason)
    assert reading.reason.isascii()
    if reading.policy is None:
        return
    assert 0 <= reading.policy.max_age <= MAX_AGE
    assert reading.policy.mx or reading.policy.mode is Mode.NONE
    for pattern in reading.policy.mx:
        assert is_hostname(pattern.removeprefix("*."))
        assert pattern == pattern.lower()
        assert match_mx([pattern], pattern.replace("*", "any", 1))
    for line in reading.policy.lines:
        assert line.isascii()
        assert line.isprintable()
        assert not set("{}") & set(line)


_label = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
_host = st.lists(_label, min_size=1, max_size=4).map(".".join)
_mx = st.builds(lambda star, host: "*." * star + host, st.booleans(), _host)
_extension = st.builds(
    lambda name, value: f"{name}:{value}",
    st.from_regex(r"x[A-Za-z0-9_.\-]{0,30}", fullmatch=True),
    st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs", "Cc"]), max_size=20),
)


@given(
    st.data(),
    st.sampled_from(Mode),
    st.integers(0, 9_999_999_999),
    st.lists(_mx, min_size=1, max_size=5, unique=True),
    st.lists(_extension, max_size=3),
)
def test_whatever_the_grammar_allows_is_read(
    data: st.DataObject, mode: Mode, age: int, patterns: list[str], extensions: list[str]
) -> None:
    lines = ["version: STSv1", f"mode:{mode}", f"max_age: \t{age}", *(f"mx: {each}" for each in patterns), *extensions]
    lines = data.draw(st.permutations(lines))
    text = "".join(line + data.draw(st.sampled_from(["\n", "\r\n", " \n", "\t\r\n"])) for line in lines)
    policy = parse(text.encode()).policy
    assert policy is not None
    assert (policy.mode, policy.max_age) == (mode, min(age, MAX_AGE))
    assert set(policy.mx) == set(patterns)


@pytest.mark.parametrize(
    "filler", ["\n", " ", "\t", "\r", ":", "a:", "mx:\n", "mx: a.example\n", "x: y\n", "mx: ä.example\n", "*.", "a."]
)
def test_rubbish_costs_no_more_than_its_length(filler: str) -> None:
    octets = filler.encode()
    start = time.process_time()
    parse(octets * (MAX_OCTETS // len(octets)))
    parse(EXAMPLE.encode() + octets * ((MAX_OCTETS - 200) // len(octets)))
    parse(b"mx: " + octets * ((MAX_OCTETS - 200) // len(octets)))
    parse(octets * (1_000_000 // len(octets)))
    assert time.process_time() - start < 0.5


@given(st.binary(max_size=3000))
def test_what_is_shown_of_a_text_that_is_no_policy(body: bytes) -> None:
    lines = shown(body)
    assert len(lines) <= 20
    assert sum(map(len, lines)) <= 2000
    for line in lines:
        assert line.isascii()
        assert line.isprintable()
        assert not set("{}") & set(line)


def test_an_invalid_policy_is_shown_as_it_was_published() -> None:
    assert shown(b"version: STSv1\r\nmode:\tenforced \r\nx: {\r\n\r\nmx: a") == (
        "version: STSv1",
        "mode: enforced",
        "mx: a",
    )
