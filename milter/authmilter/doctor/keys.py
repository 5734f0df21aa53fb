"""The keys that sign, and what DNS says about them. Pure; `key_commands` compares the two."""

from __future__ import annotations

from authmilter.doctor.facts import SigningKeys
from mailcommon.doctor.findings import Finding, mend, note, right, unseen


def judge_keys(keys: SigningKeys) -> tuple[Finding, ...]:
    """The rules."""
    if keys.without_key:
        return (unseen("keys", keys.without_key, "run this as root"),)
    if not keys.configured:
        return (right("keys", "nothing is signed: [sign] has no keys"),)
    found: list[Finding] = []
    for report in keys.reports:
        if report.good:
            found.append(right("key", f"{report.name}: {report.text}"))
            continue
        found.append(
            mend(
                "key-record",
                f"{report.name}: {report.text}",
                "what it signs does not verify",
                "authmilter key check says more; authmilter key new makes a key and prints its record",
            )
        )
    found.extend(
        note("key-unused", f"no line of [sign.table] names the key {name}", "it signs nothing") for name in keys.unused
    )
    return tuple(found)
