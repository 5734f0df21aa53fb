"""Is this an SVG that may be shown as an indicator (SVG Tiny PS §2)? Octets in, "" or one complaint out. Pure.

A complaint is for the person who drew the logo: "line 3: <animate>: animation is not allowed".

Limits: the caller bounds the octets (32 KB). Elements nest to a depth of 256 (libxml2's own bound); what <use> repeats
counts each time, up to 10,000 elements.
Security: the octets are hostile. A document type is refused before the parser sees it, and with it every entity; the
parser resolves nothing and has no network. Other encodings than UTF-8 are refused, so that nothing can hide from that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree

from authmilter.bimi.names import PROFILE, SVG_VERSION
from authmilter.bimi.svg import profile
from authmilter.bimi.svg.repeats import repetition

_DOCTYPE = re.compile(rb"<!(DOCTYPE|ENTITY)", re.IGNORECASE)
_ENCODING = re.compile(rb"""\A(?:\xef\xbb\xbf)?<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_URL = re.compile(r"url\s*\(\s*(.)", re.IGNORECASE)
_NUMBERS = re.compile(r"[\s,]+")
_SHOWN = 40  # characters of the document's own text in a complaint
_SVG_PREFIX = f"{{{profile.SVG}}}"
_METADATA = f"{_SVG_PREFIX}{profile.METADATA}"
_BLANKS = " \t\r\n"


def complaint(svg: bytes) -> str:
    """What is wrong with the SVG, "" if nothing is."""
    if text := _unreadable(svg):
        return text
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False, recover=False
    )
    try:
        root = etree.fromstring(svg, parser)
    except etree.XMLSyntaxError as fault:
        return f"line {fault.lineno or 1}: no well-formed XML: {_shown(fault.msg or '', 120)}"
    return next(_complaints(root), "")


def _unreadable(svg: bytes) -> str:
    """What keeps the octets from the parser."""
    try:
        svg.decode("utf-8")
    except UnicodeDecodeError as fault:
        return f"line {_line(svg, fault.start)}: not UTF-8"
    if b"\0" in svg:
        return f"line {_line(svg, svg.index(0))}: not UTF-8"  # UTF-16 of ASCII is valid UTF-8
    declared = _ENCODING.match(svg)
    if declared and declared[1].lower() not in (b"utf-8", b"utf8", b"us-ascii"):
        return f"line 1: the encoding is {declared[1].decode()}, not UTF-8"
    found = _DOCTYPE.search(svg)
    return f"line {_line(svg, found.start())}: <!{found[1].decode()}>: not allowed" if found else ""


def _line(svg: bytes, place: int) -> int:
    return svg.count(b"\n", 0, place) + 1


def _complaints(root: etree._Element) -> Iterator[str]:
    """All complaints, the first one first."""
    if root.tag != f"{_SVG_PREFIX}svg":
        yield _at(root, "the root element is not <svg> of the namespace " + profile.SVG)
        return
    for outside in (*root.itersiblings(preceding=True), *root.itersiblings()):
        yield from _special(outside)
    yield from _root(root)
    described = {each for metadata in root.iter(_METADATA) for each in metadata.iterdescendants()}
    for element in root.iter():
        if isinstance(element, etree._Comment) or (element in described and not _is_drawn(element)):
            continue
        if isinstance(element.tag, str):
            yield from _element(element)
        else:
            yield from _special(element)
    if what := repetition(root):
        yield what


def _special(node: etree._Element) -> Iterator[str]:
    """What is neither element nor comment."""
    if isinstance(node, etree._ProcessingInstruction):
        yield f"line {node.sourceline}: <?{_shown(str(node.target))}?>: processing instructions are not allowed"
    elif isinstance(node, etree._Entity):
        yield f"line {node.sourceline}: {_shown(str(node.text))}: entities are not allowed"


def _root(root: etree._Element) -> Iterator[str]:
    for name, wanted in (("version", SVG_VERSION), ("baseProfile", PROFILE)):
        value = root.get(name)
        if value is None:
            yield _at(root, f'{name}="{wanted}" is missing')
        elif value != wanted:
            yield _at(root, f'{name} is "{_shown(value)}", not "{wanted}"')
    for name in ("x", "y"):
        if root.get(name) is not None:
            yield _at(root, f"the root element must not have {name}")
    for name, wanted in profile.ROOT_VALUES.items():
        if root.get(name, wanted) != wanted:
            yield _at(root, f'{name} is "{_shown(root.get(name) or "")}", not "{wanted}"')
    yield from _view_box(root)
    yield from _title(root)


def _view_box(root: etree._Element) -> Iterator[str]:
    text = root.get("viewBox")
    if text is None:
        yield _at(root, "viewBox is missing")
        return
    try:
        numbers = [float(number) for number in _NUMBERS.split(text.strip(_BLANKS))]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not all(abs(number) < 1e9 for number in numbers) or min(numbers[2:]) <= 0:
        yield _at(root, f'viewBox is "{_shown(text)}", not four numbers with a width and a height')
    elif abs(numbers[2] - numbers[3]) > 0.001 * numbers[2]:
        yield _at(root, f"viewBox is not square: {numbers[2]:g} by {numbers[3]:g}")


def _title(root: etree._Element) -> Iterator[str]:
    titles = root.findall(f"{_SVG_PREFIX}title")
    first = next((child for child in root if isinstance(child.tag, str)), None)
    if not titles:
        yield _at(root, "<title> is missing")
    elif len(titles) > 1:
        yield _at(titles[1], "there is another title")
    elif first is not titles[0]:
        yield _at(titles[0], "it must be the first element in <svg>")


def _is_drawn(element: etree._Element) -> bool:
    """Whether it is of SVG or HTML, so that somebody might draw or run it even where nobody should."""
    return isinstance(element.tag, str) and element.tag.startswith((_SVG_PREFIX, f"{{{profile.XHTML}}}"))


def _element(element: etree._Element) -> Iterator[str]:
    tag = str(element.tag)
    if not tag.startswith(_SVG_PREFIX):
        yield _at(element, "an element of another namespace than SVG")
        return
    name = tag.removeprefix(_SVG_PREFIX)
    allowed = profile.ATTRIBUTES.get(name)
    if allowed is None:
        yield _at(element, profile.KNOWN_AND_FORBIDDEN.get(name, "not an element of SVG Tiny PS"))
        return
    above = element.getparent()
    if above is not None:
        parent = str(above.tag).removeprefix(_SVG_PREFIX)
        if name not in profile.CHILDREN.get(parent, ()):
            yield _at(element, f"not allowed in <{_shown(parent)}>")
    for attribute, value in element.attrib.items():
        yield from _attribute(element, name, str(attribute), str(value), allowed)
    yield from _text(element, name)


def _attribute(
    element: etree._Element, name: str, attribute: str, value: str, allowed: frozenset[str]
) -> Iterator[str]:
    shown = _attribute_name(attribute)
    if attribute in ("x", "y") and name == "svg":
        return  # said already
    if attribute not in allowed:
        if shown.lower().startswith("on"):
            yield _at(element, f"{shown}: event handlers are not allowed")
        elif attribute == "style":
            yield _at(element, "style: style sheets are not allowed")
        elif shown in ("href", "xlink:href", "src", "xml:base"):
            yield _at(element, f"{shown}: references are not allowed here")
        else:
            yield _at(element, f"{shown}: not an attribute of it in SVG Tiny PS")
    elif attribute in profile.HREFS and not value.strip(_BLANKS).startswith("#"):
        yield _at(element, f'{shown}: "{_shown(value)}" does not lead to an element of this file')
    elif "\\" in value and attribute not in profile.WITH_BACKSLASH:
        # CSS reads \75rl( as url(, and so do renderers in the values of properties
        yield _at(element, f'{shown}: "{_shown(value)}" has a backslash')
    elif any(match[1] != "#" for match in _URL.finditer(value)):
        yield _at(element, f'{shown}: "{_shown(value)}" does not lead to an element of this file')
    elif attribute in profile.VALUES and value.strip(_BLANKS) not in profile.VALUES[attribute]:
        yield _at(element, f'{shown}: "{_shown(value)}" is no value of it')


def _attribute_name(attribute: str) -> str:
    for prefix, namespace in (("xlink", profile.XLINK), ("xml", profile.XML)):
        if attribute.startswith(f"{{{namespace}}}"):
            return f"{prefix}:{_shown(attribute.rpartition('}')[2])}"
    return _shown(attribute)


def _text(element: etree._Element, name: str) -> Iterator[str]:
    if name in profile.WITH_TEXT:
        if name in ("title", "desc") and not "".join(str(text) for text in element.itertext()).strip():
            yield _at(element, "it is empty")
    elif name != profile.METADATA:
        texts = [element.text, *(child.tail for child in element)]
        if any(text and text.strip(_BLANKS) for text in texts):
            yield _at(element, "text is not allowed in it")


def _at(element: etree._Element, what: str) -> str:
    name = str(element.tag).removeprefix(_SVG_PREFIX)
    return f"line {element.sourceline}: <{_shown(name)}>: {what}"


def _shown(text: str, limit: int = _SHOWN) -> str:
    text = "".join(character if character.isprintable() else " " for character in text[: limit + 1])
    return text if len(text) <= limit else f"{text[:limit]}..."
