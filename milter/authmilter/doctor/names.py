"""Under which name results are written, and does another filter write under the same? Pure.

Standards: RFC 8601 §2.5 (the name is unique to the domain), §5 (fields that claim it are removed).
"""

from __future__ import annotations

from authmilter.doctor.facts import Names
from mailcommon.doctor.findings import Finding, mend, note, right


def judge_names(names: Names) -> tuple[Finding, ...]:
    """The rules."""
    found = []
    if "." not in names.authserv_id:
        found.append(
            mend(
                "authserv-id",
                f"results are written under the name {names.authserv_id}, which is not a whole host name",
                "others use it too, and readers cannot tell whose they are",
                'authserv_id = "mx.example.org" in authmilter.toml, with the name of your mail domain\'s border',
            )
        )
    elif not names.from_settings:
        found.append(
            note(
                "authserv-id-default",
                f"results are written under this host's name {names.authserv_id}",
                "it changes with the host",
                "set authserv_id in authmilter.toml",
            )
        )
    else:
        found.append(right("authserv-id", f"results are written under the name {names.authserv_id}"))
    for name, ident in names.others.items():
        if ident.lower() == names.authserv_id.lower():
            found.append(
                mend(
                    "authserv-id-shared",
                    f"{name} writes its results under the name {ident} too",
                    "authmilter removes them as forged, or readers believe two results",
                    f"give {name} another name, such as {name}.{names.authserv_id}, or take it out of smtpd_milters",
                )
            )
    return tuple(found)
