"""Where policies are kept, and the metrics page. Pure."""

from __future__ import annotations

import shlex

from mailcommon.doctor.findings import Finding, mend, note, right, unseen
from mailcommon.doctor.paths import PASS, READ, WRITE
from tlspolicyd.doctor.facts import PageFacts, StoreFacts


def judge_store(store: StoreFacts) -> tuple[Finding, ...]:
    """The rules about `[cache] store`."""
    if store.url == "memory:":
        text = "[cache] store is memory:"
        return (note("store-memory", text, "after a restart the first mail to each domain is not protected"),)
    if store.hidden:
        return (unseen("store", f"{store.url} may not be looked at by this user", "run this as root"),)
    if blocked := _blocked(store):
        return (blocked,)
    if store.fault:
        return (
            mend(
                "store",
                f"[cache] store {store.url}: {store.fault}",
                "policies are lost at a restart",
                "mend it, or name another",
            ),
        )
    return (right("store", f"policies are kept in {store.url}"),)


def _blocked(store: StoreFacts) -> Finding | None:
    """The daemon's user cannot write the file, or make files beside it."""
    route, who = store.route, store.runs_as
    if route is None:
        return None
    folder = route.path.parent
    where = shlex.quote(str(folder))
    name = who.name if who else "tlspolicyd"
    cure = f"install -d -o {name} -m 750 {where}"
    if route.missing is not None and route.missing != route.path:
        return mend("store-directory", f"{route.missing} does not exist", "policies are lost at a restart", cure)
    if who is None:
        return None
    node = route.obstacle(who, READ | WRITE)
    if node is None:
        # SQLite makes files beside the database
        beside = next((node for node in route.nodes if node.path == folder), None)
        node = beside if beside and not beside.allows(who, WRITE | PASS) else None
    if node is None:
        return None
    return mend(
        "store-rights",
        f"{name} may not write {node.path}: it is {node.rights}",
        "policies are lost at a restart",
        f"chown -R {name} {where}",
    )


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
