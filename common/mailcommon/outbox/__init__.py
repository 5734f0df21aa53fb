"""Reports on their way out: from made to sent, through crashes, retries and bounces. Knows nothing of what they say.

A `Report` is made once for a `(kind, domain, begins, ends, part)` and has one `Delivery` for each destination:

    made ── begin ──> handing ── finish ──> sent | delivered        the end; a bounce makes it `bounced`
     ^                   │
     └── try again ──────┴──> failed: refused, or not taken within `Limits.seconds`

    outbox = Outbox(store, limits)                   # the store was opened with outbox.SCHEMA among its schemas
    with store.write() as tx:                        # together with what the report is made of: all or nothing
        outbox.add(tx, Report(...), ["mailto:a@example.org"], now)
    with held(store, "send") as lease:               # one host sends
        send_due(outbox, lease, {"mailto": MailCarrier(compose, host)}, clock)

`compose(report, address)` gives an `EmailMessage` with everything but To, Date, Message-ID, MIME-Version and
Auto-Submitted, which the carrier adds: `letter(...)` makes one out of clean parts. Another scheme ("https") takes any
`Carrier`, which hands one report to one destination and says what came of it (`Outcome`).

Exactly once. A crash between Postfix's "250" and our commit leaves a delivery in `handing`, and nobody can tell from
the store alone whether Postfix has the message. So each attempt carries a token of its own in the header field
`X-Gatepost-Handover`, and the milter, which sees every mail that Postfix takes, is the judge (`Doorkeeper`): it notes
in the store that the attempt has come and takes the field off; an attempt that was given up, or whose report has come
before, it discards. The next run takes an attempt that was noted as sent, and gives any other up, in one statement,
before it tries again. Without such a milter in the way (or if Postfix loses the message after the milter's answer) the
rest of it stays: a second mail with the same Message-ID, report id and file name, by which receivers know it (RFC 9990
§3.5.2, §3.5.4); or, if Postfix itself fails between the milter's answer and its queue while we die too, none.

Destinations that always fail are rested: `Limits.failures` in a row, and nothing is made for them for `rest` seconds.

Diagnostics: `StoreFault`, `LeaseLost`. What a destination does is an `Outcome`, never an exception.
Limits: see `Limits`; mail is handed over by one connection, one at a time.
Security: addresses, replies and header text from outside are cleaned here (`headers.clean`, `mail.usable_address`).
"""

from mailcommon.outbox.bounces import Bounce, take_bounce
from mailcommon.outbox.doorkeeper import Doorkeeper, Entry, admit
from mailcommon.outbox.headers import WIRE, clean, letter, set_fields
from mailcommon.outbox.mail import HANDOVER, MailCarrier, MailHost, finished, usable_address
from mailcommon.outbox.outbox import Outbox
from mailcommon.outbox.sending import Carrier, Sent, send_due
from mailcommon.outbox.tables import SCHEMA
from mailcommon.outbox.values import Delivery, Limits, Outcome, Report, Result, State

__all__ = [
    "HANDOVER",
    "SCHEMA",
    "WIRE",
    "Bounce",
    "Carrier",
    "Delivery",
    "Doorkeeper",
    "Entry",
    "Limits",
    "MailCarrier",
    "MailHost",
    "Outbox",
    "Outcome",
    "Report",
    "Result",
    "Sent",
    "State",
    "admit",
    "clean",
    "finished",
    "letter",
    "send_due",
    "set_fields",
    "take_bounce",
    "usable_address",
]
