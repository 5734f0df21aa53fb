"""The profile as tables: elements, what may stand in them, their attributes and values (SVG Tiny PS §2, SVG Tiny 1.2).

Whatever is not named here is refused: a list of what is forbidden would miss what somebody thinks of next.

Stricter than the drafts' grammar: no xml:base, which could make "#name" lead elsewhere. Milder: a font may stand in
defs, a glyph may have an outline, and metadata may hold something, all of which that grammar forgot.
"""

from __future__ import annotations

from typing import Final

SVG: Final = "http://www.w3.org/2000/svg"
XLINK: Final = "http://www.w3.org/1999/xlink"
XML: Final = "http://www.w3.org/XML/1998/namespace"
XHTML: Final = "http://www.w3.org/1999/xhtml"

HREFS: Final = ("href", f"{{{XLINK}}}href")  # SVG Tiny 1.2 has the second, the drafts' grammar the first
_XML_SPACE = f"{{{XML}}}space"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PAINTED = _words(
    "path rect circle line ellipse polyline polygon solidColor textArea linearGradient radialGradient text g defs use"
)

# element -> the elements that may stand in it
CHILDREN: Final[dict[str, frozenset[str]]] = {
    "svg": _PAINTED | {"title", "desc", "metadata"},
    "g": _PAINTED,
    "defs": _PAINTED | {"font"},
    "linearGradient": _words("stop"),
    "radialGradient": _words("stop"),
    "font": _words("desc font-face glyph hkern"),
    "font-face": _words("desc"),
    "glyph": _words("desc"),
    "hkern": _words("desc"),
    **dict.fromkeys(
        _words("circle desc ellipse line path polygon polyline rect solidColor stop text textArea title use"),
        frozenset[str](),
    ),
}

WITH_TEXT: Final = _words("title desc text textArea")
METADATA: Final = "metadata"  # anything may stand in it that nobody draws

# words for elements that people try
KNOWN_AND_FORBIDDEN: Final = {
    "script": "scripts are not allowed",
    "handler": "scripts are not allowed",
    "listener": "scripts are not allowed",
    "image": "images are not allowed",
    "foreignImage": "images are not allowed",
    "foreignObject": "foreign content is not allowed",
    "a": "links are not allowed",
    "style": "style sheets are not allowed",
    "audio": "sound and film are not allowed",
    "video": "sound and film are not allowed",
    "animation": "sound and film are not allowed",
    **dict.fromkeys(
        ("animate", "animateColor", "animateMotion", "animateTransform", "set", "discard", "mpath"),
        "animation is not allowed",
    ),
}

_CORE = _words("id class role rel rev typeof content datatype resource about property") | {
    f"{{{XML}}}id",
    f"{{{XML}}}lang",
    _XML_SPACE,
}
_PROPERTIES = _words(
    "fill-opacity stroke-opacity fill fill-rule stroke stroke-dasharray stroke-dashoffset stroke-linecap"
    " stroke-linejoin stroke-miterlimit stroke-width color color-rendering vector-effect direction unicode-bidi"
    " solid-color solid-opacity display-align line-increment stop-color stop-opacity font-family font-size font-style"
    " font-variant font-weight text-anchor text-align"
)
_MEDIA = _words(
    "display visibility image-rendering shape-rendering text-rendering buffered-rendering viewport-fill"
    " viewport-fill-opacity"
)
_CONDITIONAL = _words("requiredFonts systemLanguage")
_SHAPE = _CORE | _PROPERTIES | _CONDITIONAL | {"transform"}
_SERVER = _CORE | _PROPERTIES

ATTRIBUTES: Final[dict[str, frozenset[str]]] = {
    "svg": _CORE
    | _PROPERTIES
    | _words(
        "width height viewBox preserveAspectRatio version baseProfile contentScriptType externalResourcesRequired"
        " focusable playbackOrder snapshotTime timelineBegin zoomAndPan"
    ),
    "g": _SHAPE,
    "defs": _SERVER,
    "use": _SHAPE | {"x", "y", *HREFS},
    "path": _SHAPE | _words("d pathLength"),
    "rect": _SHAPE | _words("x y width height rx ry"),
    "circle": _SHAPE | _words("cx cy r"),
    "ellipse": _SHAPE | _words("cx cy rx ry"),
    "line": _SHAPE | _words("x1 y1 x2 y2"),
    "polyline": _SHAPE | _words("points"),
    "polygon": _SHAPE | _words("points"),
    "text": _SHAPE | _words("x y rotate editable"),
    "textArea": _SHAPE | _words("x y width height"),
    "solidColor": _SERVER,
    "linearGradient": _SERVER | _words("gradientUnits x1 y1 x2 y2"),
    "radialGradient": _SERVER | _words("gradientUnits cx cy r"),
    "stop": _SERVER | _words("offset"),
    "title": _CORE | _MEDIA | _CONDITIONAL,
    "desc": _CORE | _MEDIA | _CONDITIONAL,
    "metadata": _CORE,
    "font": _CORE | _words("horiz-adv-x horiz-origin-x horiz-origin"),
    "font-face": _CORE
    | _words(
        "font-family font-style font-variant font-weight font-stretch unicode-range units-per-em panose-1 stemv stemh"
        " slope cap-height x-height accented-height ascent descent widths bbox ideographic alphabetic mathematical"
        " hanging underline-position underline-thickness strikethrough-position strikethrough-thickness"
        " overline-position overline-thickness"
    ),
    "glyph": _CORE | _words("unicode glyph-name arabic-form lang d horiz-adv-x"),
    "hkern": _CORE | _words("u1 g1 u2 g2 k"),
}

WITH_BACKSLASH: Final = _words("unicode u1 u2 glyph-name g1 g2")  # a glyph may be one

# attribute of the root element -> the one value that it may have, if it is there
ROOT_VALUES: Final = {
    "zoomAndPan": "disable",
    "externalResourcesRequired": "false",
    "focusable": "false",
    "snapshotTime": "none",
    "playbackOrder": "all",
    "timelineBegin": "onLoad",
}

# attribute -> the words that it may have, if it is there (SVG Tiny 1.2, Appendix of attributes)
VALUES: Final[dict[str, frozenset[str]]] = {
    "fill-rule": _words("nonzero evenodd inherit"),
    "stroke-linecap": _words("butt round square inherit"),
    "stroke-linejoin": _words("miter round bevel inherit"),
    "color-rendering": _words("auto optimizeSpeed optimizeQuality inherit"),
    "vector-effect": _words("none non-scaling-stroke inherit"),
    "direction": _words("ltr rtl inherit"),
    "unicode-bidi": _words("normal embed bidi-override inherit"),
    "display-align": _words("auto before center after inherit"),
    "font-style": _words("normal italic oblique inherit"),
    "font-variant": _words("normal small-caps inherit"),
    "text-anchor": _words("start middle end inherit"),
    "text-align": _words("start center end inherit"),
    "gradientUnits": _words("userSpaceOnUse objectBoundingBox"),
    "editable": _words("none simple"),
    _XML_SPACE: _words("default preserve"),
}
