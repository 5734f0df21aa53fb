"""The indicator: octets of an SVG or a gzipped one in, an `Indicator` or what is wrong with it out. Pure.

Limits: 32 KB unpacked (SVG Tiny PS §2.4: "should not exceed"); unpacking stops there, however much is packed.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from authmilter.bimi.svg.validate import complaint

MAX_OCTETS = 32_768
_GZIP = b"\x1f\x8b"  # RFC 1952 §2.3.1
_WINDOW = 16 + zlib.MAX_WBITS  # gzip and nothing else


@dataclass(frozen=True, slots=True)
class Indicator:
    """A logo that may be shown."""

    svg: bytes  # unpacked


def read_indicator(octets: bytes) -> Indicator | str:
    """The indicator, or a complaint for people."""
    svg = unpack(octets)
    if isinstance(svg, str):
        return svg
    return complaint(svg) or Indicator(svg)


def unpack(octets: bytes) -> bytes | str:
    """The SVG itself (BIMI core §5.3: gzip is undone), or what is wrong."""
    if octets.startswith(_GZIP):
        unpacker = zlib.decompressobj(_WINDOW)
        try:
            octets = unpacker.decompress(octets, MAX_OCTETS + 1)
        except zlib.error:
            return "it is no sound gzip"
        if len(octets) <= MAX_OCTETS and not unpacker.eof:
            return "its gzip is cut off"
    if len(octets) > MAX_OCTETS:
        return f"it has more than {MAX_OCTETS} octets"
    return octets if octets else "it is empty"
