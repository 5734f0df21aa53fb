"""From settings to a `BimiCheck`."""

from __future__ import annotations

import time

from authmilter.bimi.assets import Nowhere, Source
from authmilter.bimi.settings import BimiSettings, MarkSettings
from authmilter.bimi.trust import read_logs, read_roots
from authmilter.bimi_check import BimiCheck
from authmilter.settings import Settings


def make_bimi_check(settings: Settings, source: Source | None = None) -> BimiCheck | None:
    """What `[bimi]` describes, None if it is off; `source` replaces what fetches. Raises ValueError for bad files."""
    bimi = settings.bimi
    if not bimi.enabled:
        return None
    marks = MarkSettings()
    if bimi.evidence != "off":
        marks = MarkSettings(read_roots(bimi.ca_file), bimi.common_marks, bimi.revocation, read_logs(bimi.ct_log_list))
    wanted = BimiSettings(bimi.evidence, bimi.compare, bimi.budget, marks)
    return BimiCheck(wanted, source or Nowhere(), time.monotonic, time.time)
