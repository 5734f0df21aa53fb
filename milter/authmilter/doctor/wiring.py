"""Do Postfix's lists of milters name authmilter, rightly, and in the right place? Pure.

`smtpd_milters` is for mail over SMTP, `non_smtpd_milters` for mail made on the host. In the first authmilter stands
before every filter that may change the message: it has to see what the sender signed. In the second the place is free.
All findings about one list carry the same fix, the list as it should be.

Standards: MILTER_README, master(5).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from authmilter.doctor.facts import Mail
from authmilter.doctor.filters import Does, filter_at
from mailcommon.doctor.findings import Finding, Fix, main_cf, mend, mend_by, note, right
from mailcommon.doctor.postfix import MilterWord, Service, address_for, place_of_client, read_milters

_PORT_25 = ("smtp", "25", "smtpd")  # names of the service that takes mail from strangers
_GOOD_ACTIONS = ("tempfail", "shutdown")  # of milter_default_action: the sender comes again


@dataclass(frozen=True, slots=True)
class _List:
    """One list of milters, as one service (or main.cf in general) has it."""

    parameter: str
    words: tuple[MilterWord, ...]
    chroot: bool
    service: Service | None = None  # None: main.cf

    @property
    def local(self) -> bool:
        """Whether it is for mail made on this host."""
        return self.parameter == "non_smtpd_milters"

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.parameter} of {self.service.label}" if self.service else self.parameter

    @property
    def from_strangers(self) -> bool:
        """Whether mail of strangers comes in here."""
        return not self.local and (self.service is None or self.service.name.rpartition(":")[2] in _PORT_25)


def judge_wiring(mail: Mail) -> tuple[Finding, ...]:
    """The rules."""
    postfix = mail.postfix
    found: list[Finding] = []
    if outside := _outside(mail):
        return (outside,)
    for each in _lists(mail):
        found.extend(_judge(mail, each))
    if maps := postfix.get("smtpd_milter_maps"):
        found.append(note("milter-maps", f"smtpd_milter_maps is {maps}", "clients in it have milters of their own"))
    options = postfix.get("receive_override_options").replace(",", " ").split()
    if "no_milters" in options:
        found.append(
            mend_by(
                "no-milters",
                "receive_override_options in main.cf has no_milters",
                "no mail at all is shown to authmilter",
                main_cf("receive_override_options", ", ".join(word for word in options if word != "no_milters")),
            )
        )
    return tuple(found)


def clients(mail: Mail) -> tuple[Service, ...]:
    """The services whose list of milters names authmilter's socket, each once."""
    found: dict[str, Service] = {}
    for each in _lists(mail):
        if not any(_is_ours(mail, each, word) for word in each.words):
            continue
        program = "cleanup" if each.local else "smtpd"
        usual = (service for service in mail.postfix.running(program) if each.parameter not in service.overrides)
        found.update((service.label, service) for service in ((each.service,) if each.service else usual))
    return tuple(found.values())


def _outside(mail: Mail) -> Finding | None:
    """The socket stands where chrooted services cannot see it, however it is named."""
    queue = mail.postfix.queue_directory
    if mail.ours.path is None or address_for(mail.ours, queue):
        return None
    services = mail.postfix.running("smtpd") + mail.postfix.running("cleanup")
    chrooted = next((service.label for service in services if service.chroot), "")
    if not chrooted:
        return None
    return mend(
        "socket-outside-chroot",
        f"{chrooted} runs chrooted in {queue} and cannot see {mail.ours.path}",
        "Postfix finds no milter",
        f'socket = "unix:{queue}/authmilter/authmilter.sock" in authmilter.toml, and restart it',
    )


def _lists(mail: Mail) -> list[_List]:
    postfix = mail.postfix
    listeners, cleanup = postfix.running("smtpd"), postfix.running("cleanup")
    lists = []
    usual = [service for service in listeners if "smtpd_milters" not in service.overrides]
    if usual:
        words = read_milters(postfix.get("smtpd_milters"))
        lists.append(_List("smtpd_milters", words, any(service.chroot for service in usual)))
    lists.extend(
        _List("smtpd_milters", read_milters(service.overrides["smtpd_milters"]), service.chroot, service)
        for service in listeners
        if "smtpd_milters" in service.overrides
    )
    words = read_milters(postfix.get("non_smtpd_milters"))
    lists.append(_List("non_smtpd_milters", words, any(service.chroot for service in cleanup)))
    return lists


def _is_ours(mail: Mail, each: _List, word: MilterWord) -> bool:
    place = place_of_client(word.address, mail.postfix.queue_directory, chroot=each.chroot)
    return place is not None and place.is_same(mail.ours)


def _is_meant(mail: Mail, each: _List, word: MilterWord) -> bool:
    """Whether the word leads elsewhere, but can only have been meant for us."""
    place = place_of_client(word.address, mail.postfix.queue_directory, chroot=each.chroot)
    if place is None or _is_ours(mail, each, word):
        return False
    if filter_at(word.address).does is not Does.UNKNOWN:
        return False
    if mail.ours.path and place.path and place.path.name == mail.ours.path.name:
        # many have a milter.sock, in a directory of their own
        parent = place.path.parent
        if parent in (Path("/"), mail.postfix.queue_directory) or parent.name == mail.ours.path.parent.name:
            return True
    return "authmilter" in word.address


def _judge(mail: Mail, each: _List) -> list[Finding]:
    ours = [number for number, word in enumerate(each.words) if _is_ours(mail, each, word)]
    found: list[Finding] = []
    meant = [word for word in each.words if _is_meant(mail, each, word)]
    for word in meant:
        place = place_of_client(word.address, mail.postfix.queue_directory, chroot=each.chroot)
        jail = " (chrooted)" if each.chroot and word.address.startswith(("unix:/", "local:/")) else ""
        found.append(
            _mend(
                mail,
                each,
                "milter-path",
                f"{each.label} has {word.address}, which is {place}{jail}; authmilter listens at {mail.ours}",
                "Postfix finds no milter there",
            )
        )
    if not ours and not meant:
        found.append(_missing(mail, each))
    if len(ours) > 1:
        found.append(
            _mend(mail, each, "milter-twice", f"{each.label} names authmilter twice", "it does all the work twice")
        )
    for number, word in enumerate(each.words):
        if number in ours:
            found.extend(_options(mail, each, word))
        elif word not in meant:
            found.extend(_other(mail, each, word, ours[0] if ours else -1, number))
    if ours and not any(finding.fixes for finding in found):
        place_word = " first" if ours[0] == 0 and len(each.words) > 1 else ""
        found.append(right("milter", f"{each.label} names authmilter{place_word}"))
    return found


def _missing(mail: Mail, each: _List) -> Finding:
    if each.local:
        why = "mail made on this host is not signed, and forged result fields in it stay"
        return _mend(mail, each, "milter-missing-local", "non_smtpd_milters does not name authmilter", why)
    if each.from_strangers:
        text = f"{each.label} does not name authmilter"
        return _mend(mail, each, "milter-missing", text, "mail from outside is not looked at")
    return note(
        "milter-missing-service",
        f"{each.label} does not name authmilter",
        "mail that comes in there is neither looked at nor signed",
    )


def _options(mail: Mail, each: _List, word: MilterWord) -> list[Finding]:
    action = word.options.get("default_action")
    if action is None or action in _GOOD_ACTIONS:
        return []
    text = f"{each.label} has {word.word}"
    return [_mend(mail, each, "default-action", text, "without authmilter mail is not deferred but: " + action)]


def _other(mail: Mail, each: _List, word: MilterWord, ours: int, number: int) -> list[Finding]:
    known = filter_at(word.address)
    name = f"{known.name} ({word.address})" if known.name != word.address else word.address
    if known.does is Does.VERIFIES or (known.does is Does.SIGNS_TOO and mail.signs):
        why = "it does what authmilter does; see docs/moving-from-opendkim.md and moving-from-opendmarc.md"
        if known.does is Does.SIGNS_TOO:
            why = f"{why}. Without it only what [sign] table names is signed: compare the domains first"
        return [_mend(mail, each, "filter-double", f"{each.label} names {name} too", why)]
    if known.does is Does.SIGNS_TOO:
        return [
            note(
                "filter-signs",
                f"{each.label} names {name}, and [sign] has no keys",
                "it checks what authmilter checks; authmilter can sign too",
                "docs/moving-from-opendkim.md",
            )
        ]
    if each.local or ours < 0:
        return []
    if number < ours and known.does is Does.CHANGES:
        text = f"in {each.label} {name} stands before authmilter"
        return [_mend(mail, each, "milter-order", text, "what it changes breaks signatures before they are checked")]
    if number < ours and known.does is Does.UNKNOWN:
        return [
            note(
                "milter-order-unknown",
                f"in {each.label} {name} stands before authmilter",
                "if it changes messages, signatures break before they are checked",
            )
        ]
    return []


def _mend(mail: Mail, each: _List, ident: str, text: str, why: str) -> Finding:
    words = _as_it_should_be(mail, each)
    if each.service is None:
        return mend_by(ident, text, why, main_cf(each.parameter, ", ".join(words)))
    joined = ",".join(words)
    if " " in joined:  # postconf -P takes no blanks
        return mend(ident, text, why, f"in master.cf: {each.service.label} -o {{ {each.parameter} = {joined} }}")
    return mend_by(ident, text, why, Fix("-P", f"{each.service.label}/{each.parameter}={joined}"))


def _as_it_should_be(mail: Mail, each: _List) -> list[str]:
    """The words of the list."""
    ours = next((word for word in each.words if _is_ours(mail, each, word)), None)
    address = ours.address if ours else address_for(mail.ours, mail.postfix.queue_directory)
    if not address:
        address = f"unix:{mail.ours.path}"  # nothing is chrooted
    word = _with_options(address, ours)
    kept: list[str] = []
    place: int | None = None  # of ours among those that are kept
    changer: int | None = None
    for other in each.words:
        if _is_ours(mail, each, other) or _is_meant(mail, each, other):
            place = len(kept) if place is None else place
            continue
        does = filter_at(other.address).does
        if does is Does.VERIFIES or (does is Does.SIGNS_TOO and mail.signs):
            continue
        if does is Does.CHANGES and changer is None:
            changer = len(kept)
        kept.append(other.word)
    if each.local:
        where = len(kept) if place is None else place
    else:
        where = min(0 if place is None else place, len(kept) if changer is None else changer)
    return [*kept[:where], word, *kept[where:]]


def _with_options(address: str, word: MilterWord | None) -> str:
    options = {} if word is None else dict(word.options)
    if options.get("default_action", "tempfail") not in _GOOD_ACTIONS:
        del options["default_action"]
    if not options:
        return address
    return "{ " + ", ".join([address, *(f"{name}={value}" for name, value in options.items())]) + " }"
