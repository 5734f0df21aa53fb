"""An explanation as the object that `tlspolicyd query --json` prints. Pure.

Scripts read it: keys are added, never renamed. `policy`, `policy_tlsrpt`: the line for Postfix, null if it gets none
and uses its own level. Times are unix seconds, null where there is no policy.
"""

from __future__ import annotations

import json

from tlspolicyd.explain import Explanation, dane_result, sts_result
from tlspolicyd.facts import Source


def as_json(explanation: Explanation) -> str:
    """One JSON document in ASCII, indented."""
    return json.dumps(as_object(explanation), indent=2)


def as_object(explanation: Explanation) -> dict[str, object]:
    """The same as plain values."""
    decision = explanation.decision
    return {
        "domain": explanation.domain,
        "key": explanation.key,
        "policy": explanation.line,
        "policy_tlsrpt": explanation.line_tlsrpt,
        "reply": explanation.reply,
        "source": str(decision.source if decision else Source.NONE),
        "level": str(decision.level) if decision and decision.level else None,
        "rule": decision.rule if decision else "no-domain",
        "reason": decision.reason if decision else explanation.notes[0],
        "notes": list(explanation.notes),
        "sts": _sts(explanation),
        "dane": _dane(explanation),
    }


def _sts(explanation: Explanation) -> dict[str, object] | None:
    if explanation.facts is None or explanation.record is None:
        return None
    fact, record, fetch = explanation.facts.sts, explanation.record, explanation.fetch
    policy = fact.policy
    return {
        "result": sts_result(fact),
        "mode": str(policy.mode) if policy else None,
        "mx": list(policy.mx) if policy else [],
        "max_age": policy.max_age if policy else None,
        "id": fact.id or None,
        "fetched_at": fact.fetched_at if policy else None,
        "expires_at": fact.expires_at if policy else None,
        "cached": fact.cached,
        "reason": fact.reason,
        "record": {
            "name": record.name,
            "status": record.status.value,
            "texts": list(record.texts),
            "id": record.id or None,
            "reason": record.reason,
        },
        "host": explanation.host,
        "addresses": list(explanation.addresses),
        "fetch": None
        if fetch is None
        else {
            "result": "policy" if fetch.policy else str(fetch.failure),
            "reason": fetch.reason,
            "certificate": fetch.certificate,
            "notes": list(fetch.notes),
            "lines": list(fetch.policy.lines) if fetch.policy else [],
        },
    }


def _dane(explanation: Explanation) -> dict[str, object] | None:
    if explanation.facts is None:
        return None
    fact = explanation.facts.dane
    return {
        "result": dane_result(fact),
        "enabled": fact.enabled,
        "mx_secure": fact.mx_secure,
        "implicit_mx": fact.implicit_mx,
        "expires_in": fact.expires_in,
        "reason": fact.reason,
        "hosts": [
            {
                "name": host.name,
                "preference": host.preference,
                "secure": host.secure,
                "address": host.address,
                "tlsa": str(host.tlsa),
                "records": list(host.records),
                "reason": host.reason,
                "matches_policy": explanation.matches.get(host.name),
            }
            for host in fact.hosts
        ],
    }
