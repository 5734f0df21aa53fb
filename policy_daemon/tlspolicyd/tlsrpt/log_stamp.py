"""The front of a log line -> when it was written, and the rest ("postfix/smtp[123]: ..."). No I/O.

Both forms that syslog daemons and Postfix's own `maillog_file` write: "Nov 28 03:10:54 host ", in local time and
without a year, and RFC 3339's "2026-11-28T03:10:54.123456+01:00 host ".
"""

from __future__ import annotations

import calendar
import datetime
import re

_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if number}
_OLD = re.compile(r"(?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) (?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d) \S+ (?P<rest>.*)\Z")
_NEW = re.compile(r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)) \S+ (?P<rest>.*)\Z")
_AHEAD = 86_400.0  # seconds that a line may lie ahead of now; one that lies further is of last year


def split(line: str, now: float) -> tuple[float, str] | None:
    """(unix seconds, the rest); None if the line has another form. `now`: unix seconds, gives the year."""
    if match := _NEW.match(line):
        try:
            return datetime.datetime.fromisoformat(match["time"]).timestamp(), match["rest"]
        except ValueError:
            return None
    match = _OLD.match(line)
    if match is None or match["month"] not in _MONTHS:
        return None
    year = datetime.datetime.fromtimestamp(now).astimezone().year
    fields = (_MONTHS[match["month"]], int(match["day"]), int(match["h"]), int(match["m"]), min(int(match["s"]), 59))
    for candidate in (year + 1, year, year - 1):
        try:
            at = datetime.datetime(candidate, *fields).astimezone().timestamp()
        except ValueError:  # no 29 February in that year, or an hour of 25
            continue
        if at <= now + _AHEAD:
            return at, match["rest"]
    return None
