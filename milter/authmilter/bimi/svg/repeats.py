"""What <use> makes of an SVG: one element repeated by another that is repeated grows without bound.

No rule of the profile, but a few lines of <use> can keep a renderer busy for hours.
Limits: linear in the number of elements.
"""

from __future__ import annotations

from lxml import etree

from authmilter.bimi.svg import profile

MAX_DRAWN = 10_000  # elements, each as often as it is drawn; a logo has some hundred
_USE = f"{{{profile.SVG}}}use"
_ID = f"{{{profile.XML}}}id"


def repetition(root: etree._Element) -> str:
    """What is wrong with the <use> elements of a document, "" if nothing is."""
    targets: dict[str, etree._Element] = {}
    for element in root.iter(f"{{{profile.SVG}}}*"):
        name = element.get("id") or element.get(_ID)
        if name and targets.setdefault(str(name), element) is not element:
            # which of both is meant is up to the renderer
            return f"line {element.sourceline}: two elements have the same id"
    drawn: dict[etree._Element, int] = {}  # what an element stands for, itself and all in it
    open_: set[etree._Element] = set()
    stack: list[tuple[etree._Element, bool]] = [(root, False)]
    while stack:
        element, done = stack.pop()
        if done:
            open_.discard(element)
            drawn[element] = 1 + sum(drawn.get(part, 0) for part in _parts(element, targets))
            if drawn[element] > MAX_DRAWN:
                return f"line {element.sourceline}: <use> repeats more than {MAX_DRAWN} elements"
            continue
        if element in drawn:
            continue
        open_.add(element)
        stack.append((element, True))
        for part in reversed(_parts(element, targets)):
            if part in open_:
                return f"line {element.sourceline}: <use>: it leads to itself"
            stack.append((part, False))
        if element.tag == _USE and not _parts(element, targets):
            return f"line {element.sourceline}: <use>: it leads to nothing in this file"
    return ""


def _parts(element: etree._Element, targets: dict[str, etree._Element]) -> list[etree._Element]:
    """What is drawn for an element beside itself."""
    if element.tag == _USE:
        names = [str(name).strip().removeprefix("#") for name in map(element.get, profile.HREFS) if name is not None]
        return [targets[name] for name in names if name in targets] if set(names) <= set(targets) else []
    return [child for child in element if isinstance(child.tag, str)]
