"""SVG Tiny PS: a table of files with the exact complaint about each (BIMI-26 to BIMI-31)."""

from __future__ import annotations

import gzip
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authmilter.bimi.indicator import MAX_OCTETS, Indicator, read_indicator, unpack
from authmilter.bimi.svg.profile import ATTRIBUTES, CHILDREN
from authmilter.bimi.svg.validate import complaint
from tests.support.marks import LOGO

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" version="1.2" baseProfile="tiny-ps" viewBox="0 0 10 10"'
XLINK = ' xmlns:xlink="http://www.w3.org/1999/xlink"'


def svg(body: str = "", attributes: str = "", title: str = "<title>T</title>") -> str:
    """A file whose body begins on line 3."""
    return f"{HEAD}{attributes}>\n{title}\n{body}</svg>\n"


GOOD = {
    "logo": LOGO.decode(),
    "title only": svg(),
    "xml declaration": f'<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n{svg()}',
    "declaration in single quotes": f"<?xml version='1.0' encoding='utf-8'?>{svg()}",
    "byte order mark": f"\ufeff{svg()}",
    "comments": "<!-- made by hand -->" + svg('<!-- a rect --><rect width="1" height="1"/>') + "<!-- end -->",
    "comment before the title": svg(title="<!-- t --><title>T</title>"),
    "all shapes": svg(
        '<path d="M0 0"/><rect/><circle r="1"/><ellipse rx="1"/><line x1="1"/><polyline points="0,0"/>'
        '<polygon points="0,0"/>'
    ),
    "groups": svg('<g fill="red"><g transform="scale(2)"><path d="M0 0"/></g></g>'),
    "gradients": svg(
        '<defs><linearGradient id="a"><stop offset="0" stop-color="red"/></linearGradient>'
        '<radialGradient id="b" cx="1" gradientUnits="userSpaceOnUse"><stop offset="1"/></radialGradient></defs>'
        '<rect fill="url(#a)" stroke="url( #b )"/>'
    ),
    "solid colour": svg('<solidColor id="c" solid-color="red"/><rect fill="url(#c)"/>'),
    "use": svg('<defs><path id="p" d="M0 0"/></defs><use xlink:href="#p" x="2"/>', XLINK),
    "use without xlink": svg('<defs><path id="p" d="M0 0"/></defs><use href="#p"/>'),
    "text": svg('<text x="1" y="2" font-size="3">Hello</text><textArea width="5" height="5">World</textArea>'),
    "font": svg(
        '<defs><font horiz-adv-x="5"><font-face font-family="f" units-per-em="10"/><glyph unicode="a" d="M0 0"/>'
        '<hkern u1="a" u2="b" k="1"/></font></defs>'
    ),
    "desc": svg("<desc>A logo</desc>"),
    "metadata": svg('<metadata><rdf:RDF xmlns:rdf="urn:rdf"><rdf:li x="1">text</rdf:li></rdf:RDF></metadata>'),
    "prefix": (
        '<s:svg xmlns:s="http://www.w3.org/2000/svg" version="1.2" baseProfile="tiny-ps" viewBox="0 0 10 10">'
        "<s:title>T</s:title></s:svg>"
    ),
    "fixed values": svg(
        attributes=' zoomAndPan="disable" externalResourcesRequired="false" focusable="false" snapshotTime="none"'
        ' playbackOrder="all" timelineBegin="onLoad" contentScriptType="text/plain"'
    ),
    "size and aspect": svg(
        attributes=' width="10" height="10" preserveAspectRatio="xMidYMid meet" xml:space="preserve"'
    ),
    "cdata in the title": svg(title="<title><![CDATA[T & T]]></title>"),
    "character references": svg(title="<title>&#65;&amp;</title>"),
    "viewBox with commas": svg().replace("0 0 10 10", "-5,-5, 10.0005,10"),
}

ROOT = "the root element is not <svg> of the namespace http://www.w3.org/2000/svg"
FOUR = "not four numbers with a width and a height"
NO_INSTRUCTION = "processing instructions are not allowed"
NOT_HERE = "references are not allowed here"
NO_PS = "not an attribute of it in SVG Tiny PS"
BAD = {
    # the root
    ("no xml", "hello"): "line 1: no well-formed XML: Start tag expected, '<' not found, line 1, column 1",
    ("html", "<html><body/></html>"): f"line 1: <html>: {ROOT}",
    ("no namespace", "<svg/>"): f"line 1: <svg>: {ROOT}",
    ("no version", svg().replace(' version="1.2"', "")): 'line 1: <svg>: version="1.2" is missing',
    ("version 1.1", svg().replace("1.2", "1.1")): 'line 1: <svg>: version is "1.1", not "1.2"',
    ("no profile", svg().replace(' baseProfile="tiny-ps"', "")): 'line 1: <svg>: baseProfile="tiny-ps" is missing',
    ("other profile", svg().replace("tiny-ps", "tiny")): 'line 1: <svg>: baseProfile is "tiny", not "tiny-ps"',
    ("x", svg(attributes=' x="0"')): "line 1: <svg>: the root element must not have x",
    ("y", svg(attributes=' y="0px"')): "line 1: <svg>: the root element must not have y",
    ("no viewBox", svg().replace(' viewBox="0 0 10 10"', "")): "line 1: <svg>: viewBox is missing",
    ("oblong", svg().replace("0 0 10 10", "0 0 20 10")): "line 1: <svg>: viewBox is not square: 20 by 10",
    ("three numbers", svg().replace("0 0 10 10", "0 0 10")): f'line 1: <svg>: viewBox is "0 0 10", {FOUR}',
    ("no size", svg().replace("0 0 10 10", "0 0 0 0")): f'line 1: <svg>: viewBox is "0 0 0 0", {FOUR}',
    ("not a number", svg().replace("0 0 10 10", "0 0 nan nan")): f'line 1: <svg>: viewBox is "0 0 nan nan", {FOUR}',
    ("zoom", svg(attributes=' zoomAndPan="magnify"')): 'line 1: <svg>: zoomAndPan is "magnify", not "disable"',
    (
        "external",
        svg(attributes=' externalResourcesRequired="true"'),
    ): 'line 1: <svg>: externalResourcesRequired is "true", not "false"',
    ("timeline", svg(attributes=' timelineBegin="onStart"')): 'line 1: <svg>: timelineBegin is "onStart", not "onLoad"',
    # the title
    ("no title", svg(title="")): "line 1: <svg>: <title> is missing",
    ("empty title", svg(title="<title> \n</title>")): "line 2: <title>: it is empty",
    ("late title", svg(title="<rect/>\n<title>T</title>")): "line 3: <title>: it must be the first element in <svg>",
    ("two titles", svg("<title>U</title>")): "line 3: <title>: there is another title",
    ("title in a group", svg("<g><title>U</title></g>")): "line 3: <title>: not allowed in <g>",
    ("empty desc", svg("<desc/>")): "line 3: <desc>: it is empty",
    # elements
    ("script", svg("<script>alert(1)</script>")): "line 3: <script>: scripts are not allowed",
    ("script in a group", svg("<g>\n<g>\n<script/></g></g>")): "line 5: <script>: scripts are not allowed",
    ("handler", svg("<handler/>")): "line 3: <handler>: scripts are not allowed",
    ("image", svg("<image/>")): "line 3: <image>: images are not allowed",
    ("animate", svg("<rect>\n<animate attributeName='x'/></rect>")): "line 4: <animate>: animation is not allowed",
    ("set", svg("<set/>")): "line 3: <set>: animation is not allowed",
    ("link", svg("<a><rect/></a>")): "line 3: <a>: links are not allowed",
    ("style", svg("<style>a{}</style>")): "line 3: <style>: style sheets are not allowed",
    ("foreignObject", svg("<foreignObject/>")): "line 3: <foreignObject>: foreign content is not allowed",
    ("video", svg("<video/>")): "line 3: <video>: sound and film are not allowed",
    ("filter", svg("<filter/>")): "line 3: <filter>: not an element of SVG Tiny PS",
    ("clipPath", svg("<defs><clipPath/></defs>")): "line 3: <clipPath>: not an element of SVG Tiny PS",
    ("upper case", svg("<RECT/>")): "line 3: <RECT>: not an element of SVG Tiny PS",
    ("inner svg", svg("<svg/>")): "line 3: <svg>: not allowed in <svg>",
    ("stop outside", svg("<stop/>")): "line 3: <stop>: not allowed in <svg>",
    ("shape in a shape", svg("<rect><circle/></rect>")): "line 3: <circle>: not allowed in <rect>",
    (
        "foreign element",
        svg('<x:rect xmlns:x="urn:x"/>'),
    ): "line 3: <{urn:x}rect>: an element of another namespace than SVG",
    ("html element", svg('<p xmlns="http://www.w3.org/1999/xhtml"/>')): (
        "line 3: <{http://www.w3.org/1999/xhtml}p>: an element of another namespace than SVG"
    ),
    ("script in metadata", svg("<metadata>\n<script/></metadata>")): "line 4: <script>: scripts are not allowed",
    ("html in metadata", svg('<metadata><x xmlns="http://www.w3.org/1999/xhtml"/></metadata>')): (
        "line 3: <{http://www.w3.org/1999/xhtml}x>: an element of another namespace than SVG"
    ),
    ("bare text", svg("<g>hello</g>")): "line 3: <g>: text is not allowed in it",
    ("bare text behind", svg("<g><rect/>hello</g>")): "line 3: <g>: text is not allowed in it",
    # attributes
    ("onload", svg(attributes=' onload="x()"')): "line 1: <svg>: onload: event handlers are not allowed",
    ("onclick", svg('<rect onClick="x()"/>')): "line 3: <rect>: onClick: event handlers are not allowed",
    ("style attribute", svg('<rect style="fill:red"/>')): "line 3: <rect>: style: style sheets are not allowed",
    ("opacity", svg('<rect opacity="0.5"/>')): f"line 3: <rect>: opacity: {NO_PS}",
    ("another's attribute", svg('<circle points="0,0"/>')): f"line 3: <circle>: points: {NO_PS}",
    ("foreign attribute", svg('<g xmlns:i="urn:ink" i:label="x"/>')): f"line 3: <g>: {{urn:ink}}label: {NO_PS}",
    ("xml:base", svg('<g xml:base="https://evil.example/"/>')): f"line 3: <g>: xml:base: {NOT_HERE}",
    ("external plain href", svg('<use href="x.svg#a"/>')): (
        'line 3: <use>: href: "x.svg#a" does not lead to an element of this file'
    ),
    ("one of two hrefs leads nowhere", svg('<g id="a"/><use href="#a" xlink:href="#b"/>', XLINK)): (
        "line 3: <use>: it leads to nothing in this file"
    ),
    ("use of itself by one of two", svg('<g/>\n<g id="b"><use href="#a" xlink:href="#b"/></g><g id="a"/>', XLINK)): (
        "line 4: <use>: it leads to itself"
    ),
    ("href on a shape", svg('<rect xlink:href="#a"/>', XLINK)): f"line 3: <rect>: xlink:href: {NOT_HERE}",
    ("external use", svg('<use xlink:href="https://a.example/x.svg#a"/>', XLINK)): (
        'line 3: <use>: xlink:href: "https://a.example/x.svg#a" does not lead to an element of this file'
    ),
    ("data use", svg('<use xlink:href="data:image/svg+xml,x"/>', XLINK)): (
        'line 3: <use>: xlink:href: "data:image/svg+xml,x" does not lead to an element of this file'
    ),
    ("external paint", svg('<rect fill="url(https://a.example/x#a)"/>')): (
        'line 3: <rect>: fill: "url(https://a.example/x#a)" does not lead to an element of this file'
    ),
    ("quoted external paint", svg("<rect fill=\"URL( 'https://a')\"/>")): (
        "line 3: <rect>: fill: \"URL( 'https://a')\" does not lead to an element of this file"
    ),
    ("fill-rule", svg('<path fill-rule="odd"/>')): 'line 3: <path>: fill-rule: "odd" is no value of it',
    (
        "long value",
        svg(f'<path fill-rule="{"x" * 99}"/>'),
    ): f'line 3: <path>: fill-rule: "{"x" * 40}..." is no value of it',
    ("escaped paint", svg('<rect fill="\\75rl(https://a.example/x)"/>')): (
        'line 3: <rect>: fill: "\\75rl(https://a.example/x)" has a backslash'
    ),
    # what <use> makes of it
    ("same id", svg('<g id="a"/>\n<g id="a"/>')): "line 4: two elements have the same id",
    ("same xml:id", svg('<g id="a"/>\n<g xml:id="a"/>')): "line 4: two elements have the same id",
    ("use of itself", svg('<g id="a">\n<use xlink:href="#a"/></g>', XLINK)): "line 4: <use>: it leads to itself",
    ("two of each other", svg('<g id="a"><use xlink:href="#b"/></g>\n<g id="b"><use xlink:href="#a"/></g>', XLINK)): (
        "line 4: <use>: it leads to itself"
    ),
    ("use of nothing", svg('<use xlink:href="#a"/>', XLINK)): "line 3: <use>: it leads to nothing in this file",
    # XML
    (
        "not closed",
        svg("<g>"),
    ): "line 3: no well-formed XML: Opening and ending tag mismatch: g line 3 and svg, line 3, column 10",
    ("doctype", f"<!DOCTYPE svg>\n{svg()}"): "line 1: <!DOCTYPE>: not allowed",
    ("public doctype", f'<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://x">\n{svg()}'): (
        "line 2: <!DOCTYPE>: not allowed"
    ),
    ("entity", f'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>{svg("<desc>&x;</desc>")}'): (
        "line 1: <!DOCTYPE>: not allowed"
    ),
    (
        "undeclared entity",
        svg("<desc>&x;</desc>"),
    ): "line 3: no well-formed XML: Entity 'x' not defined, line 3, column 10",
    ("stylesheet", f'<?xml-stylesheet href="x.css"?>\n{svg()}'): f"line 1: <?xml-stylesheet?>: {NO_INSTRUCTION}",
    ("instruction inside", svg("<g>\n<?php x?></g>")): f"line 4: <?php?>: {NO_INSTRUCTION}",
    ("instruction behind", f"{svg()}<?x y?>"): f"line 4: <?x?>: {NO_INSTRUCTION}",
    ("latin-1", f'<?xml version="1.0" encoding="ISO-8859-1"?>{svg()}'): "line 1: the encoding is ISO-8859-1, not UTF-8",
    ("utf-7", f'<?xml version="1.0" encoding="UTF-7"?>{svg()}'): "line 1: the encoding is UTF-7, not UTF-8",
}


def test_the_table_is_large_enough() -> None:
    assert len(GOOD) + len(BAD) >= 40


@pytest.mark.parametrize("name", GOOD)
def test_good(name: str) -> None:
    assert complaint(GOOD[name].encode()) == ""


@pytest.mark.parametrize(("case", "expected"), BAD.items(), ids=[name for name, _ in BAD])
def test_bad(case: tuple[str, str], expected: str) -> None:
    assert complaint(case[1].encode()) == expected


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (svg().encode("utf-16"), "line 1: not UTF-8"),
        (svg().encode("utf-16-le"), "line 1: not UTF-8"),
        (svg().encode("utf-32"), "line 1: not UTF-8"),
        (b"\n\n\xff", "line 3: not UTF-8"),
        (svg().encode() + b"\0", "line 4: not UTF-8"),
        (b"", "line 1: no well-formed XML: Document is empty, line 1, column 1"),
    ],
)
def test_other_encodings(octets: bytes, expected: str) -> None:
    assert complaint(octets) == expected


def test_entities_cost_nothing() -> None:
    """Billion laughs: refused before the parser sees them."""
    lines = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<!DOCTYPE svg [<!ENTITY l0 "lol">{lines}]>{svg("<desc>&l11;</desc>")}'
    began = time.thread_time()
    assert complaint(bomb.encode()) == "line 1: <!DOCTYPE>: not allowed"
    assert time.thread_time() - began < 0.1


def test_repetition_costs_nothing() -> None:
    """Ten of ten of ten: as many elements as a renderer would draw, without drawing them."""
    groups = "".join(f'<g id="g{n}">' + f'<use xlink:href="#g{n - 1}"/>' * 10 + "</g>" for n in range(1, 30))
    began = time.thread_time()
    found = complaint(svg(f'<defs><rect id="g0"/>{groups}</defs>', XLINK).encode())
    assert found == "line 3: <use> repeats more than 10000 elements"
    assert time.thread_time() - began < 0.5


@pytest.mark.parametrize(
    "body",
    [
        "<g>" * 5_000,
        "<g>" * 240 + "<g/>" * 7_000 + "</g>" * 240,
        "<rect/>" * 4_000,
        "<g " + 'a="b" ' * 5_000 + "/>",
        "&#65;" * 6_000,
    ],
)
def test_shapes_of_hostile_files(body: str) -> None:
    began = time.thread_time()
    complaint(svg(f"<desc>{body}</desc>" if "&" in body else body).encode()[:MAX_OCTETS])
    assert time.thread_time() - began < 1.0


def test_what_a_complaint_shows_of_the_file_is_bounded_and_printable() -> None:
    found = complaint(svg(f'<path fill-rule="a&#10;b&#27;[1m{"x" * 5_000}"/>').encode())
    assert found.isprintable()
    assert len(found) < 200


@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    for octets in (text.encode("utf-8", "replace"), svg(text).encode("utf-8", "replace")):
        found = complaint(octets)
        assert "\n" not in found


@given(st.binary(max_size=300))
def test_any_octets(octets: bytes) -> None:
    for each in (octets, b"\x1f\x8b" + octets, gzip.compress(octets)):
        read_indicator(each)


def test_every_element_of_the_table_has_attributes() -> None:
    assert set(ATTRIBUTES) == {*CHILDREN, "metadata"}
    assert set().union(*CHILDREN.values()) <= set(ATTRIBUTES)


# The indicator around it


def test_packed_and_not() -> None:
    assert read_indicator(LOGO) == Indicator(LOGO)
    assert read_indicator(gzip.compress(LOGO)) == Indicator(LOGO)  # BIMI-25


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"", "it is empty"),
        (gzip.compress(b""), "it is empty"),
        (LOGO + b" " * MAX_OCTETS, "it has more than 32768 octets"),
        (gzip.compress(LOGO + b" " * 100_000_000, 1), "it has more than 32768 octets"),
        (gzip.compress(LOGO)[:-20], "its gzip is cut off"),
        (b"\x1f\x8b" + LOGO, "it is no sound gzip"),
        (gzip.compress(gzip.compress(LOGO)), "line 1: not UTF-8"),  # once is enough
    ],
)
def test_what_is_no_indicator(octets: bytes, expected: str) -> None:
    """BIMI-24: unpacking stops at the limit, however much is packed."""
    assert read_indicator(octets) == expected


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b" " * 500_000_000, 9)
    began = time.thread_time()
    assert unpack(bomb) == "it has more than 32768 octets"
    assert time.thread_time() - began < 0.1
