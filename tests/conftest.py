"""One profile for all property tests: no deadline for a single example, since the machine may be busy."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("gatepost", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gatepost")

pytest_plugins = ["tests.support.stores"]
