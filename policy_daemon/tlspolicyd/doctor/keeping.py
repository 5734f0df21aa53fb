"""Where policies are kept, and the metrics page. Pure."""

from __future__ import annotations

from mailcommon.doctor.findings import Finding, mend, note, right
from mailcommon.doctor.stores import StoreFacts, judge_store
from tlspolicyd.doctor.facts import PageFacts


def judge_cache(store: StoreFacts) -> tuple[Finding, ...]:
    """The rules about `[cache] store`."""
    if store.url == "memory:":
        text = "[cache] store is memory:"
        return (note("store-memory", text, "after a restart the first mail to each domain is not protected"),)
    return judge_store(store, "store", "policies are lost at a restart")


def judge_page(page: PageFacts) -> tuple[Finding, ...]:
    """The rules about `[metrics] listen`."""
    if not page.listen or not page.runs:
        return ()
    if page.fault:
        return (
            mend(
                "metrics",
                f"there is no metrics page at {page.listen}: {page.fault}",
                "Prometheus sees nothing",
                "restart tlspolicyd; another program may have the port",
            ),
        )
    host = page.listen.rpartition(":")[0].strip("[]")
    if host not in ("127.0.0.1", "::1", "localhost"):
        return (note("metrics-open", f"the metrics page is at {page.listen}", "let a firewall say who may read it"),)
    return (right("metrics", f"the metrics page answers at {page.listen}"),)
