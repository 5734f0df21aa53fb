"""The brand indicator of the demonstration: a logo, its common mark certificate, and the host that serves both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from demo.world import BRAND_HOST, GALLERY
from tests.support.bimi_world import BimiWorld

LOGO = b"""<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" version="1.2" baseProfile="tiny-ps" viewBox="0 0 64 64">
  <title>Gallery</title>
  <rect width="64" height="64" fill="#12355b"/>
  <path d="M12 48 L24 24 L33 40 L39 31 L52 48 Z" fill="#f2c14e"/>
  <circle cx="44" cy="20" r="6" fill="#f2f2f2"/>
  <path d="M8 8 H56 V56 H8 Z" fill="none" stroke="#f2f2f2" stroke-width="2"/>
</svg>
"""
MARK_TYPE = "Prior Use Mark"
_PATIENCE = 10.0  # seconds: a demonstration waits for its own host


class Brand:
    """What the milter and the resolver need to know."""

    def __init__(self, world: BimiWorld) -> None:
        self._world = world

    @property
    def zone(self) -> str:
        """Zone text with the hosts of logo and revocation list."""
        return self._world.hosts_zone(BRAND_HOST)

    @property
    def settings(self) -> dict[str, Any]:
        """The [bimi] table."""
        return self._world.settings(budget=_PATIENCE)


@contextlib.contextmanager
def serve() -> Iterator[Brand]:
    """Run the host, with a private authority for marks."""
    with BimiWorld(dns=False) as world:
        pem = world.marks.issue(GALLERY.domain, svg=LOGO, mark_type=MARK_TYPE)
        world.web(BRAND_HOST, {"/logo.svg": LOGO, "/mark.pem": pem})
        yield Brand(world)
