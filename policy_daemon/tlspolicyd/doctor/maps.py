"""Does Postfix ask tlspolicyd, in a way that this version of it understands? Pure.

Standards: postconf(5) smtp_tls_policy_maps, socketmap_table(5), TLSRPT_README.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailcommon.doctor.findings import Finding, Fix, main_cf, mend, mend_by, note, right
from mailcommon.doctor.postfix import Place, Service, address_for, place_of_client, split_list
from tlspolicyd.doctor.facts import Outgoing
from tlspolicyd.query import POLICY, POLICY_TLSRPT

_KNOWS_TLSRPT = (3, 10)
_CHECKS_MX = (3, 10, 5)
_PARAMETER = "smtp_tls_policy_maps"
_FOR_REPORTS = "tlsrpt"
_USUAL = ("smtp", "relay")  # the services that send mail to other hosts


@dataclass(frozen=True, slots=True)
class _Map:
    word: str
    place: Place | None
    address: str  # "unix:path" or "inet:host:port"
    name: str  # of the map within the server
    proxied: bool  # asked by proxymap(8)


def judge_maps(out: Outgoing) -> tuple[Finding, ...]:
    """The rules."""
    queue = out.postfix.queue_directory
    senders = out.postfix.running("smtp")
    chrooted = next((service.label for service in senders if service.chroot), "")
    if out.ours.path and not address_for(out.ours, queue) and chrooted:
        return (
            mend(
                "socket-outside-chroot",
                f"{chrooted} runs chrooted in {queue} and cannot see {out.ours.path}",
                "Postfix finds no policy and defers all mail",
                f'socket = "unix:{queue}/tlspolicyd/tlspolicyd.sock" in tlspolicyd.toml, and restart it',
            ),
        )
    found = _judge(out, out.postfix.get(_PARAMETER), chroot=bool(chrooted), service=None)
    for service in senders:
        # reports of TLS failures go out despite them: conf/main.cf.tlspolicyd has a service of this name for them
        if _PARAMETER in service.overrides and service.name != _FOR_REPORTS:
            found.extend(_judge(out, service.overrides[_PARAMETER], chroot=service.chroot, service=service))
    return tuple(found)


def clients(out: Outgoing) -> tuple[Service, ...]:
    """The services that connect to tlspolicyd's socket."""
    found = []
    for service in out.postfix.running("smtp"):
        maps = _read(out, out.postfix.get(_PARAMETER, service), chroot=service.chroot)
        ours = [each for each in maps if each.place and each.place.is_same(out.ours)]
        if any(not each.proxied for each in ours):
            found.append(service)
        if any(each.proxied for each in ours):
            found.extend(out.postfix.running("proxymap"))
    return tuple(found)


def map_for(version: tuple[int, ...]) -> str:
    """The name of the map for this Postfix."""
    return POLICY_TLSRPT if version >= _KNOWS_TLSRPT else POLICY


def _read(out: Outgoing, value: str, *, chroot: bool) -> list[_Map]:
    found = []
    for word in split_list(value):
        bare = word.removeprefix("proxy:")
        proxied = bare != word
        if not bare.startswith("socketmap:"):
            continue
        address, _, name = bare.removeprefix("socketmap:").rpartition(":")
        place = place_of_client(address, out.postfix.queue_directory, chroot=chroot and not proxied)
        found.append(_Map(word, place, address, name, proxied))
    return found


def _judge(out: Outgoing, value: str, *, chroot: bool, service: Service | None) -> list[Finding]:
    label = f"{_PARAMETER} of {service.label}" if service else _PARAMETER
    maps = _read(out, value, chroot=chroot)
    ours = next((each for each in maps if each.place and each.place.is_same(out.ours)), None)
    if ours is None:
        return [_not_ours(out, value, maps, label, service)]
    found: list[Finding] = []
    wanted = map_for(out.postfix.version)
    version = out.postfix.version_text
    if ours.name not in (POLICY, POLICY_TLSRPT):
        why = "tlspolicyd refuses it and Postfix defers all mail"
        found.append(_mend(out, value, ours, "map-name", f"{label} asks for the map {ours.name}", why, service))
    elif ours.name == POLICY_TLSRPT and wanted == POLICY:
        why = f"Postfix {version} takes its answers for errors and defers mail"
        found.append(_mend(out, value, ours, "map-name", f"{label} asks for the map {ours.name}", why, service))
    elif ours.name == POLICY and wanted == POLICY_TLSRPT:
        why = f"Postfix {version} can take more: reports are complete, MX names are checked"
        found.append(_mend(out, value, ours, "map-name", f"{label} asks for the map {ours.name}", why, service))
    words = split_list(value)
    if words[0] != ours.word:
        before = ", ".join(words[: words.index(ours.word)])
        text = f"in {label} {before} stands before tlspolicyd"
        found.append(note("map-order", text, "where it has an entry, tlspolicyd is not asked"))
    if not any(finding.fixes for finding in found):
        found.append(right("map", f"{label} asks tlspolicyd for the map {ours.name}"))
    if service is None and wanted == POLICY_TLSRPT and out.postfix.version < _CHECKS_MX:
        text = f"Postfix {version} compares certificates, but not MX names, with a policy"
        found.append(
            note("postfix-mx-names", text, "that is less than RFC 8461 §4.1 asks for", "Postfix 3.10.5 or newer")
        )
    return found


def _not_ours(out: Outgoing, value: str, maps: list[_Map], label: str, service: Service | None) -> Finding:
    meant = next((each for each in maps if _is_meant(out, each)), None)
    if meant is not None:
        text = f"{label} has {meant.word}, which is {meant.place}; tlspolicyd listens at {out.ours}"
        return _mend(out, value, meant, "map-path", text, "Postfix finds nobody there and defers all mail", service)
    text = f"{label} does not name tlspolicyd"
    if service is None:
        return _mend(out, value, None, "map-missing", text, "no policy is heeded in outgoing mail", None)
    if service.name in _USUAL:
        return _mend(out, value, None, "map-missing", text, "no policy is heeded in mail that goes out there", service)
    return note("map-missing-service", text, "no policy is heeded in mail that goes out there")


def _is_meant(out: Outgoing, each: _Map) -> bool:
    if each.place and each.place.path and out.ours.path:
        return each.place.path.name == out.ours.path.name
    return "tlspolicyd" in each.address


def _mend(
    out: Outgoing, value: str, old: _Map | None, ident: str, text: str, why: str, service: Service | None
) -> Finding:
    address = address_for(out.ours, out.postfix.queue_directory) or f"unix:{out.ours.path}"
    if old is not None and old.place and old.place.is_same(out.ours):
        address = old.address
    proxy = "proxy:" if old is not None and old.proxied else ""
    word = f"{proxy}socketmap:{address}:{map_for(out.postfix.version)}"
    words = list(split_list(value))
    if old is None:
        words.append(word)
    else:
        words[words.index(old.word)] = word
    if service is None:
        return mend_by(ident, text, why, main_cf(_PARAMETER, ", ".join(words)))
    return mend_by(ident, text, why, Fix("-P", f"{service.label}/{_PARAMETER}={','.join(words)}"))
