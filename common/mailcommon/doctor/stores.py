"""Where a daemon keeps what must outlive it: files and servers. Pure; `store_facts` looks."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from mailcommon.doctor.findings import Finding, mend, right, unseen
from mailcommon.doctor.paths import PASS, READ, WRITE, Identity, Route


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """One store."""

    setting: str  # "[cache] store"
    url: str  # without a password
    fault: str = ""  # why it cannot be used
    route: Route | None = None  # to the file, if it is one
    runs_as: Identity | None = None  # the daemon, None if that is not known


def judge_store(store: StoreFacts, ident: str, why: str) -> tuple[Finding, ...]:
    """The rules. `ident`: what the findings' words begin with; `why`: what comes of a store that cannot be used."""
    if store.route is not None and store.route.hidden:
        return (unseen(ident, f"{store.setting} {store.url} may not be looked at by this user", "run this as root"),)
    if blocked := _blocked(store, ident, why):
        return (blocked,)
    if store.fault:
        return (mend(ident, f"{store.setting} {store.url}: {store.fault}", why, "mend it, or name another"),)
    return (right(ident, f"{store.setting} {store.url} can be used"),)


def _blocked(store: StoreFacts, ident: str, why: str) -> Finding | None:
    """The daemon's user cannot write the file, or make files beside it."""
    route, who = store.route, store.runs_as
    if route is None:
        return None
    folder = route.path.parent
    where = shlex.quote(str(folder))
    if route.missing is not None and route.missing != route.path:
        owner = f"-o {who.name} " if who else ""
        cure = f"install -d {owner}-m 750 {where}"
        return mend(f"{ident}-directory", f"{store.setting}: {route.missing} does not exist", why, cure)
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
        f"{ident}-rights",
        f"{store.setting}: {who.name} may not write {node.path}: it is {node.rights}",
        why,
        f"chown -R {who.name} {where}",
    )
