"""From fields that were written to be read in two ways, and what must come out of them.

The names are those of the attacks in "Composition Kills" (A1 to A19) and of reports about other verifiers.
"""

from __future__ import annotations

import base64
from typing import NamedTuple

import pytest

from authmilter.author import parse_author

FINE = ""


class Case(NamedTuple):
    name: str
    fields: list[bytes]
    domains: tuple[str, ...]
    problem: str = FINE  # a piece of the text, "" for no problem at all


def encoded(text: str) -> bytes:
    return b"=?utf-8?B?" + base64.b64encode(text.encode()) + b"?="


LEGIT, ATTACK = "legitimate.example", "attack.example"
# in A1 to A7 the trick is in the envelope or in a signature: the From is plain
PLAIN = [Case(f"A{number}", [b" <admin@legitimate.example>"], (LEGIT,)) for number in range(1, 8)]
COMPOSITION_KILLS = [
    *PLAIN,
    Case("A8 two fields", [b" <a@attack.example>", b" <admin@legitimate.example>"], (ATTACK, LEGIT), "2 From"),
    # Postfix gives the names without the blanks around them, so that A9 to A11 come as two fields
    Case("A9 blank before the name", [b" <a@attack.example>", b" <b@legitimate.example>"], (ATTACK, LEGIT), "2 From"),
    Case("A10 blank after the name", [b" <a@attack.example>", b" <b@legitimate.example>"], (ATTACK, LEGIT), "2 From"),
    Case("A11 folded name", [b" <a@attack.example>", b" <b@legitimate.example>"], (ATTACK, LEGIT), "2 From"),
    Case("A12 odd From beside Sender", [b" <first@attack.example>"], (ATTACK,)),
    Case("A12 no From beside Sender", [], (), "no From"),
    Case("A13 odd From beside Resent-From", [b" <first@attack.example>"], (ATTACK,)),
    Case("A14 two addresses", [b" <first@attack.example>, <admin@legitimate.example>"], (ATTACK, LEGIT)),
    Case(
        "A15 encoded address",
        [encoded("<admin@legitimate.example>") + b",<second@attack.example>"],
        (ATTACK, LEGIT),
        "no address",
    ),
    Case("A16 route", [b" <@attack.example,@any.example:admin@legitimate.example>"], (LEGIT,)),
    Case(
        "A17 quoted pair",
        [b" <admin@legitimate.example>\\,<second@attack.example>"],
        (LEGIT, ATTACK),
        "cannot stand outside quotes",
    ),
    Case("A18 precedence", [b" admin@legitimate.example,<second@attack.example>"], (LEGIT, ATTACK)),
    Case("A19 after the address", [b" <any@attack.example>admin@legitimate.example"], (ATTACK, LEGIT), "follows"),
]
OTHER_VERIFIERS = [
    Case(
        "address in a quoted local part", [b'"Someone <someone@junk.example>"@mydomain.example'], ("mydomain.example",)
    ),
    Case("quoted comma", [b'"Doe, John" <j@a.example>'], ("a.example",)),
    Case("quoted pair in a quoted name", [b'"John \\"The\\" Doe" <j@a.example>'], ("a.example",)),
    Case("quoted backslash at the end", [b'"Doe\\\\" <j@a.example>'], ("a.example",)),
    Case("quoted address as name", [b'"ceo@legitimate.example" <j@attack.example>'], (ATTACK,)),
    Case("encoded address as name", [encoded("ceo@legitimate.example") + b" <j@attack.example>"], (ATTACK,)),
    Case(
        "unquoted address as name", [b"ceo@legitimate.example <j@attack.example>"], (ATTACK, LEGIT), "unquoted address"
    ),
    Case("unquoted address as name, the same domain", [b"j@a.example <j@a.example>"], ("a.example",)),
    Case("angle bracket without counterpart", [b"user@legitimate.example>"], (LEGIT,), "counterpart"),
    Case("display name only", [b" Some Body"], (), "no address"),
    Case("equal fields", [b"a@a.example", b"a@a.example"], ("a.example",), "2 From"),
    Case("one good field, one empty", [b"a@a.example", b""], ("a.example",), "2 From"),
    Case("no From", [], (), "no From"),
    Case("empty", [b""], (), "no address"),
    Case("blanks and folds", [b" \r\n \r\n\t"], (), "no address"),
    Case("commas", [b" , ,"], (), "no address"),
    Case("unquoted comma", [b"Doe, John <j@a.example>"], ("a.example",)),
    Case("unquoted comma before a bare address", [b"Doe, j@a.example"], ("a.example",)),
    Case("a word after the address", [b"John <j@a.example>, Doe"], ("a.example",), '"Doe" is no address'),
    Case("a quoted address as an element", [b'"x@b.example", <j@a.example>'], ("b.example", "a.example"), "no address"),
    Case("words and no address", [b"Doe, John"], (), '"Doe" is no address'),
    Case("open quote", [b'"Doe <j@a.example>'], ("a.example",), "quoted string is not closed"),
    Case("open comment", [b"j@a.example (x"], ("a.example",), "comment is not closed"),
    Case("open comment in the domain", [b"any@legitimate.example(.attack.example"], (LEGIT,), "comment is not closed"),
    Case("closed comment in the domain", [b"any@legitimate.example(.attack.example)"], (LEGIT,)),
    Case("closing parenthesis", [b"j@a.example )"], ("a.example",), "cannot stand"),
    Case("open angle bracket", [b"x <j@a.example"], ("a.example",), "not closed"),
    Case("nested angle brackets", [b"<<j@a.example>>"], ("a.example",), "between angle brackets"),
    Case("two in angle brackets", [b"<j@a.example, k@b.example>"], ("a.example", "b.example"), "no address"),
    Case("two angle brackets", [b"<j@a.example> <k@b.example>"], ("a.example", "b.example"), "follows"),
    Case("empty angle brackets", [b"Bob <>"], (), "no address"),
    Case("no local part", [b"<@a.example>"], ("a.example",), "no address"),
    Case("two @", [b"j@attack.example@legitimate.example"], (ATTACK, LEGIT), "no address"),
    Case("blank in the domain", [b"<j@legitimate.example attack.example>"], (LEGIT,), "no address"),
    Case("blank in the local part", [b"<j k@a.example>"], ("a.example",), "no address"),
    Case("semicolon at the end", [b"<j@a.example>;"], ("a.example",), "counterpart"),
    Case(
        "NUL in the domain", [b"<j@legitimate.example\0.attack.example>"], (LEGIT, LEGIT + ".attack.example"), "control"
    ),
    Case("NUL at the end", [b"<j@a.example>\0"], ("a.example",), "control"),
    Case("bare CR", [b"<j@a.example>\rFrom: <k@b.example>"], ("a.example", "b.example"), "control"),
    Case("bare LF", [b"<j@a.example>\nFrom: <k@b.example>"], ("a.example", "b.example"), "control"),
    Case("escape sequence in the name", [b"\x1b[2J <j@a.example>"], ("a.example",), "control"),
    Case("DEL", [b"\x7f <j@a.example>"], ("a.example",), "control"),
    Case(
        "quote in the domain",
        [b"<j@legitimate.example'a.attack.example>"],
        (LEGIT, LEGIT + "a.attack.example"),
        "usable",
    ),
    Case("backslash in the domain", [b"<j@legitimate\\.example>"], (LEGIT,), "cannot stand"),
    Case("quoted domain", [b'<j@"legitimate.example">'], (LEGIT,), "no address"),
    Case(
        "encoded local part",
        [b"<" + encoded("ceo@legitimate.example>") + b"@attack.example>"],
        (ATTACK, LEGIT),
        "local",
    ),
    Case("encoded domain", [b"<ceo@=?utf-8?Q?legitimate.example?=>"], (LEGIT,), "usable"),
    Case("encoded alone", [encoded("ceo@legitimate.example")], (LEGIT,), "no address"),
    Case("percent route", [b"user%legitimate.example@attack.example"], (ATTACK,)),
    Case("bang route", [b"legitimate.example!user@attack.example"], (ATTACK,)),
    Case("mailto", [b"mailto:j@a.example"], ("a.example",), "group is not closed"),
]
GRAMMAR = [
    Case("bare", [b"j@a.example"], ("a.example",)),
    Case("name", [b' "J. Doe" <j@a.example>'], ("a.example",)),
    Case("comment as name", [b"j@a.example (John (the) Doe \\) x)"], ("a.example",)),
    Case("comments everywhere", [b"(a) J (b) <(c) j (d) . k @ (e) a (f) . (g) example (h)> (i)"], ("a.example",)),
    Case("address in a comment", [b"j@attack.example (ceo@legitimate.example)"], (ATTACK,)),
    Case("mark in a comment", [b"(<>,:;@) j@a.example"], ("a.example",)),
    Case("folded", [b" John\r\n Doe\r\n\t<j\r\n @a.example>"], ("a.example",)),
    Case("folded in quotes", [b' "John\r\n Doe" <j@a.example>'], ("a.example",)),
    Case("folded by a line feed", [b" John\n <j@a.example>"], ("a.example",)),
    Case("obsolete phrase", [b"John Q. Public <j@a.example>"], ("a.example",)),
    Case("quoted local part", [b'"j d"@a.example'], ("a.example",)),
    Case("mixed local part", [b'"j d" . k."l,m"@a.example'], ("a.example",)),
    Case("empty quoted local part", [b'""@a.example'], ("a.example",)),
    Case("dots in the local part", [b"john..doe.@a.example"], ("a.example",)),
    Case("dot as local part", [b".@a.example"], ("a.example",), "local part"),
    Case("route", [b"J <@b.example,,@c.example:j@a.example>"], ("a.example",)),
    Case("route without colon", [b"<@b.example,j@a.example>"], ("b.example", "a.example"), "no address"),
    Case("several, one domain", [b"j@a.example, K <k@A.example>"], ("a.example",)),
    Case("several domains", [b"j@a.example, k@b.example, l@a.example"], ("a.example", "b.example")),
    Case("empty elements", [b", j@a.example ,, k@b.example,"], ("a.example", "b.example")),
    Case("group", [b"The Team: j@a.example, K <k@b.example>;"], ("a.example", "b.example")),
    Case("group and more", [b'"The Team": j@a.example;, k@b.example'], ("a.example", "b.example")),
    Case("empty group", [b"Undisclosed recipients:;"], (), "group has no address"),
    Case("empty group with an address beside it", [b"x: ,; , j@a.example"], ("a.example",), "group has no address"),
    Case("group in a group", [b"a: b: j@a.example;;"], ("a.example",), "out of place"),
    Case("group without a name", [b": j@a.example;"], ("a.example",), "out of place"),
    Case("open group", [b"a: j@a.example"], ("a.example",), "group is not closed"),
    Case("address literal", [b"j@[192.0.2.1]"], (), "address literal"),
    Case("IPv6 literal", [b"<j@[IPv6:2001:db8::1]>"], (), "address literal"),
    Case("open literal", [b"j@[192.0.2.1"], (), "square bracket"),
    Case("literal and a domain", [b"j@[192.0.2.1], k@a.example"], ("a.example",), "address literal"),
    Case("tag as name", [b"[JIRA] John <j@a.example>"], ("a.example",)),
    Case("address in a tag", [b"[ceo@legitimate.example] <j@attack.example>"], (ATTACK, LEGIT), "not quoted"),
    Case("marks in an encoded word", [b"=?utf-8?Q?Acme,_Inc.:_(Sales)?= <j@a.example>"], ("a.example",)),
    Case(
        "address in a bad encoded word",
        [b"=?utf-8?Q?c@legitimate.example,?= <j@attack.example>"],
        (LEGIT, ATTACK),
        "local part",
    ),
    Case("single label", [b"root@localhost"], ("localhost",)),
    Case("trailing dot", [b"j@a.example."], ("a.example",)),
    Case("two trailing dots", [b"j@a.example.."], ("a.example",), "usable"),
    Case("two dots", [b"j@a..example"], ("a.example",), "usable"),
    Case("upper case", [b"J@A.EXAMPLE"], ("a.example",)),
    Case("underscore", [b"j@a_b.example"], ("a_b.example",)),
    Case("IP address as domain", [b"j@192.0.2.1"], (), "usable"),
    Case("long label", [b"j@" + b"a" * 64 + b".example"], (), "usable"),
    Case("long name", [b"j@" + b"a." * 126 + b"example"], (), "usable"),
    Case("U-labels", ["Jürgen <jürgen@Bücher.example>".encode()], ("xn--bcher-kva.example",)),
    Case("A-labels", [b"j@XN--BCHER-KVA.example"], ("xn--bcher-kva.example",)),
    Case("both forms", ["j@bücher.example, k@xn--bcher-kva.example".encode()], ("xn--bcher-kva.example",)),
    Case("ideographic full stop", ["j@a。example".encode()], ("a.example",)),
    Case("full-width letters", ["j@ｌｅｇｉｔｉｍａｔｅ.example".encode()], (LEGIT,)),
    Case("zero-width space", ["j@legiti\u200bmate.example".encode()], (LEGIT,)),
    Case("no-break space", ["j@a.example\u00a0".encode()], ("a.example",), "usable"),
    Case("Latin-1 in the name", ["Jürgen <j@a.example>".encode("latin-1")], ("a.example",)),
    Case("Latin-1 in the local part", ["jürgen@a.example".encode("latin-1")], ("a.example",), "not UTF-8"),
    Case("Latin-1 in the domain", ["j@bücher.example".encode("latin-1")], (), "usable"),
]


@pytest.mark.parametrize("case", COMPOSITION_KILLS + OTHER_VERIFIERS + GRAMMAR, ids=lambda case: case.name)
def test_from_field(case: Case) -> None:
    author = parse_author(case.fields)
    assert author.domains == case.domains
    if case.problem:
        assert case.problem in author.problem
    else:
        assert author.problem == ""
