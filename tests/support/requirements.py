"""What a test does on a machine that lacks what it needs.

It is skipped with the reason, unless GATEPOST_REQUIRE_ALL=1 is in the environment: then it fails, so that a machine
that is meant to run everything cannot quietly run less.
"""

from __future__ import annotations

import os

import pytest


def require(missing: str) -> None:
    """Skip or fail the test if `missing` names something; "" lets it run."""
    if not missing:
        return
    if os.environ.get("GATEPOST_REQUIRE_ALL") == "1":
        pytest.fail(f"GATEPOST_REQUIRE_ALL=1, but {missing}", pytrace=False)
    pytest.skip(missing)
