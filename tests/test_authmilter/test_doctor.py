"""The rules of `authmilter doctor` as tables over facts; what they look at for real is in tests/postfix."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from authmilter.doctor.brands import judge_brands
from authmilter.doctor.facts import Mail, Names, SigningKeys
from authmilter.doctor.filters import Does, filter_at
from authmilter.doctor.keys import judge_keys
from authmilter.doctor.names import judge_names
from authmilter.doctor.negotiate import negotiate
from authmilter.doctor.parameters import judge_parameters
from authmilter.doctor.read import name_facts
from authmilter.doctor.reports import judge_reports
from authmilter.doctor.wiring import clients, judge_wiring
from authmilter.key_commands import Report
from authmilter.settings import Bimi, Settings
from mailcommon.doctor.findings import Finding, Level
from mailcommon.doctor.postfix import Place, Postfix, Service
from mailcommon.doctor.reporting import SendingFacts
from mailcommon.doctor.stores import StoreFacts

QUEUE = "/var/spool/postfix"
OURS = "unix:authmilter/authmilter.sock"
RSPAMD = "inet:127.0.0.1:11332"
OPENDKIM = "unix:opendkim/opendkim.sock"
NONE = {"smtpd_milters": ""}
SETTING = f"unix:{QUEUE}/authmilter/authmilter.sock"


def services(
    chroot: bool = True, *, smtp: Mapping[str, str] | None = None, submission: Mapping[str, str] | None = None
) -> tuple[Service, ...]:
    return (
        Service("smtp", "inet", chroot, "smtpd", smtp or {}),
        Service("submission", "inet", chroot, "smtpd", submission or {}),
        Service("cleanup", "unix", chroot, "cleanup"),
    )


def mail(
    smtpd: str = OURS,
    local: str = OURS,
    *,
    signs: bool = True,
    lines: tuple[Service, ...] = services(),
    place: str = f"{QUEUE}/authmilter/authmilter.sock",
    main_cf: Mapping[str, str] | None = None,
) -> Mail:
    known = {"queue_directory": QUEUE, "smtpd_milters": smtpd, "non_smtpd_milters": local, **(main_cf or {})}
    return Mail(Postfix((3, 7, 11), known, lines), Place(path=Path(place)), signs)


def levels(found: tuple[Finding, ...]) -> list[str]:
    return [f"{each.level.value} {each.id}" for each in found]


RIGHT = ["ok milter", "ok milter"]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (mail(), RIGHT),
        (mail(lines=services(chroot=False)), RIGHT),
        (mail(SETTING, SETTING, lines=services(chroot=False)), RIGHT),
        (mail(SETTING), ["mend milter-path", "ok milter"]),
        (mail(""), ["mend milter-missing", "ok milter"]),
        (mail(local=""), ["ok milter", "mend milter-missing-local"]),
        (mail(f"{OURS} {RSPAMD}"), RIGHT),
        (mail(f"{RSPAMD} {OURS}"), ["mend milter-order", "ok milter"]),
        (mail(local=f"{RSPAMD} {OURS}"), RIGHT),
        (mail(f"unix:greylist/sock {OURS}"), RIGHT),
        (mail(f"unix:own/sock {OURS}"), ["note milter-order-unknown", "ok milter", "ok milter"]),
        (mail(f"{OPENDKIM}, {OURS}"), ["mend filter-double", "ok milter"]),
        (mail(f"{OPENDKIM}, {OURS}", signs=False), ["note filter-signs", "ok milter", "ok milter"]),
        (mail(f"{OURS}, {OURS}"), ["mend milter-twice", "ok milter"]),
        (mail(f"{{ {OURS}, default_action=tempfail }}"), RIGHT),
        (mail(f"{{ {OURS}, default_action=reject }}"), ["mend default-action", "ok milter"]),
        (mail(lines=()), ["ok milter"]),
        (mail(lines=services(submission=NONE)), ["ok milter", "note milter-missing-service", "ok milter"]),
        (mail(lines=services(smtp=NONE)), ["ok milter", "mend milter-missing", "ok milter"]),
        (mail(place="/run/authmilter.sock"), ["mend socket-outside-chroot"]),
        (mail("unix:/run/a.sock", "unix:/run/a.sock", place="/run/a.sock", lines=services(chroot=False)), RIGHT),
        (mail(main_cf={"smtpd_milter_maps": "cidr:/x"}), [*RIGHT, "note milter-maps"]),
        (mail(main_cf={"receive_override_options": "no_milters"}), [*RIGHT, "mend no-milters"]),
    ],
)  # fmt: skip
def test_wiring(facts: Mail, said: list[str]) -> None:
    assert levels(judge_wiring(facts)) == said


@pytest.mark.parametrize(
    ("smtpd", "wanted"),
    [
        ("", OURS),
        (RSPAMD, f"{OURS}, {RSPAMD}"),
        (f"unix:greylist/sock {RSPAMD} {OURS}", f"unix:greylist/sock, {OURS}, {RSPAMD}"),
        (f"{OPENDKIM} inet:localhost:8893 {OURS} unix:own/sock", f"{OURS}, unix:own/sock"),
        (f"{OPENDKIM}, {SETTING}", OURS),
        (f"{{ {OURS}, default_action=accept, connect_timeout=1s }}", f"{{ {OURS}, connect_timeout=1s }}"),
    ],
)
def test_the_list_as_it_should_be(smtpd: str, wanted: str) -> None:
    fixes = {fix.assignment for each in judge_wiring(mail(smtpd)) for fix in each.fixes}
    assert fixes == {f"smtpd_milters = {wanted}"}
    assert not [each for each in judge_wiring(mail(wanted)) if each.level is Level.MEND]


@pytest.mark.parametrize("other", ["unix:clamav/milter.sock", "unix:/srv/quota/milter.sock"])
def test_a_milter_whose_socket_has_the_same_file_name_is_kept(other: str) -> None:
    place = f"{QUEUE}/authmilter/milter.sock"
    ours = "unix:authmilter/milter.sock"
    found = judge_wiring(mail(f"{ours}, {other}", f"{ours}, {other}", place=place))
    assert not [each for each in found if each.level is Level.MEND]
    for list_ in (other, f"{other}, unix:/authmilter/wrong/authmilter.sock"):
        fixes = {fix.assignment for each in judge_wiring(mail(list_, ours, place=place)) for fix in each.fixes}
        assert fixes
        for fix in fixes:
            assert other in fix
            assert ours in fix
            assert "wrong" not in fix


def test_in_master_cf_blanks_cannot_be_set_by_postconf() -> None:
    override = f"{RSPAMD}, {{ {OURS}, connect_timeout=1s }}"
    found = judge_wiring(mail(lines=services(smtp={"smtpd_milters": override})))
    (bad,) = (each for each in found if each.level is Level.MEND)
    assert (bad.id, bad.fixes) == ("milter-order", ())
    assert "smtp/inet -o { smtpd_milters = { unix:" in bad.cure


def test_who_connects() -> None:
    assert [each.label for each in clients(mail())] == ["smtp/inet", "submission/inet", "cleanup/unix"]
    lines = services(submission={"smtpd_milters": ""})
    assert [each.label for each in clients(mail(local="", lines=lines))] == ["smtp/inet"]


@pytest.mark.parametrize(
    ("address", "name", "does"),
    [
        ("unix:/run/opendkim/opendkim.sock", "opendkim", Does.SIGNS_TOO),
        ("inet:localhost:12301", "opendkim", Does.SIGNS_TOO),
        ("inet:localhost:18891", "inet:localhost:18891", Does.UNKNOWN),
        ("unix:opendmarc/opendmarc.sock", "opendmarc", Does.VERIFIES),
        ("inet:localhost:11332", "rspamd", Does.CHANGES),
        ("unix:milter-greylist/s", "milter-greylist", Does.HARMLESS),
    ],
)
def test_filters_that_are_known(address: str, name: str, does: Does) -> None:
    found = filter_at(address)
    assert (found.name, found.does) == (name, does)


def test_a_postfix_that_lacks_a_parameter_is_not_told_to_set_it() -> None:
    found = judge_parameters(mail())
    assert levels(found) == ["ok parameters", "note bare-newline"]
    assert not any(each.fixes for each in found)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("milter_default_action", "shutdown", None),
        ("milter_default_action", "quarantine", "mend default-action"),
        ("milter_protocol", "6 no_header_reply", None),
        ("milter_content_timeout", "2m", None),
        ("header_size_limit", "5000000", "note header-size-large"),
        ("smtp_line_length_limit", "0", None),
        ("smtp_line_length_limit", "990", "mend line-length"),
        ("internal_mail_filter_classes", "", "note bounces-unsigned"),
        ("mynetworks", "127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128", None),
        ("mynetworks", "127.0.0.0/8, 192.0.2.0/24", "note networks-differ"),
        # the site's own, which no command that is printed may take away
        ("smtp_generic_maps", "hash:/etc/postfix/generic", "note generic-maps"),
        ("smtp_header_checks", "pcre:/etc/postfix/strip-received", "note smtp-header-checks"),
        ("soft_bounce", "yes", "note soft-bounce"),
    ],
)
def test_parameters(name: str, value: str, said: str | None) -> None:
    found = judge_parameters(mail(main_cf={"smtpd_forbid_bare_newline": "yes", name: value}))
    assert [each for each in levels(found) if each != "ok parameters"] == ([said] if said else [])


def test_what_breaks_signatures_is_nothing_without_signatures() -> None:
    changes = {"smtp_generic_maps": "hash:/x", "smtp_line_length_limit": "100", "smtpd_forbid_bare_newline": "yes"}
    assert levels(judge_parameters(mail(signs=False, main_cf=changes))) == ["ok parameters"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (Names("mx.example.org", True), ["ok authserv-id"]),
        (Names("mx.example.org", False), ["note authserv-id-default"]),
        (Names("mx", True), ["mend authserv-id"]),
        (Names("mx.a.example", True, {"rspamd": "MX.a.example"}), ["ok authserv-id", "mend authserv-id-shared"]),
        (Names("mx.a.example", True, {"rspamd": "", "opendkim": "x"}), ["ok authserv-id"]),
    ],
)
def test_names(names: Names, said: list[str]) -> None:
    assert levels(judge_names(names)) == said


@pytest.mark.parametrize(
    ("milter", "file", "text", "name"),
    [
        (RSPAMD, "rspamd/local.d/milter_headers.conf", 'use = ["x-spamd-bar"];\n', ""),
        (RSPAMD, "rspamd/local.d/milter_headers.conf", 'use = ["authentication-results"];\n', "mx.own.example"),
        (
            RSPAMD,
            "rspamd/override.d/milter_headers.conf",
            'use = ["authentication-results"];\nauthserv_id = "spam.example";\n',
            "spam.example",
        ),
        (OPENDKIM, "opendkim.conf", "# AuthservID no\nAuthservID  dkim.example\n", "dkim.example"),
        (OPENDKIM, "opendkim.conf", "AuthservID HOSTNAME\n", "mx.own.example"),
        (OPENDKIM, "other.conf", "", "mx.own.example"),
    ],
)
def test_names_that_other_filters_write(tmp_path: Path, milter: str, file: str, text: str, name: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    postfix = Postfix((3, 7), {"smtpd_milters": milter, "myhostname": "mx.own.example"})
    assert list(name_facts(Settings(), postfix, tmp_path).others.values()) == [name]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (SigningKeys(False), ["ok keys"]),
        (SigningKeys(True, (Report("a", True, "good"), Report("b", False, "bad"))), ["ok key", "mend key-record"]),
        (SigningKeys(True, (), ("old",)), ["note key-unused"]),
        (SigningKeys(True, without_key="for root"), ["unseen keys"]),
    ],
)
def test_keys(keys: SigningKeys, said: list[str]) -> None:
    assert levels(judge_keys(keys)) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"enabled": True, "evidence": "off"}, ["note bimi-evidence"]),
        ({"enabled": True, "evidence": "off", "https_port": 8443}, ["mend bimi-port", "note bimi-evidence"]),
    ],
)
def test_brands(changes: dict[str, Any], said: list[str]) -> None:
    assert levels(judge_brands(Bimi(**changes))) == said


GOOD_ANSWER = struct.pack(">Ic", 13, b"O") + struct.pack(">III", 6, 0, 0)


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (GOOD_ANSWER, ""),
        (GOOD_ANSWER[:-2], "its answer is cut off"),
        (b"220 mx ESMTP Postfix\r\n", "its answer is not one of a milter"),
        (struct.pack(">Ic", 1 << 30, b"O"), "its answer is not one of a milter"),
        (b"", "it closes the connection without an answer"),
    ],
)
def test_negotiation(answer: bytes, wrong: str) -> None:
    here, there = socket.socketpair()
    with here, there:

        def serve() -> None:
            there.recv(100)
            there.sendall(answer)
            there.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve)
        thread.start()
        here.settimeout(5)
        assert negotiate(here) == wrong
        thread.join()


def reporting(pattern: str) -> Settings:
    sign = {"keys": {"k": {"selector": "s", "file": "/k"}}, "table": {pattern: ["k"]}} if pattern else {}
    return Settings.model_validate(
        {"reports": {"store": "sqlite:/v/r.db", "email": "dmarc@a.example.org"}, "sign": sign}
    )


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("a.example.org", []),
        ("dmarc@a.example.org", []),
        ("*.example.org", []),
        ("*.org", []),
        ("*", []),
        ("example.org", ["mend reports-unsigned"]),
        ("*.a.example.org", ["mend reports-unsigned"]),
        ("", ["mend reports-unsigned"]),
    ],
)
def test_reports_are_signed(pattern: str, said: list[str]) -> None:
    sending = SendingFacts("127.0.0.1:25", "", "x.timer", True)
    found = judge_reports(reporting(pattern), StoreFacts("[reports] store", "sqlite:/v/r.db"), sending)
    assert levels(found) == ["ok reports-store", *said]


def test_without_a_store_there_are_no_reports() -> None:
    assert levels(judge_reports(Settings(), None, None)) == ["ok reports"]
