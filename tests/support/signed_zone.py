"""A real DNSSEC-signed tree behind a real validating unbound, with the ways in which a signed tree can be broken.

The tree is a root zone signed by BIND's dnssec-signzone with a key of this instance, which unbound has as its only
trust anchor. Names may be made zones of their own below it:

    zone = "a.example. 60 IN MX 10 mx.a.example.\\nmx.c.example. 60 IN A 127.0.0.1"
    with SignedUnbound(zone, unsigned=["c.example"], tampered=[("mx.a.example", "A")]) as dns:
        dns.address   # answers with AD, except below c.example; SERVFAIL for the address of mx.a.example

Diagnostics: `Unavailable` if unbound or dnssec-signzone is not installed; `StartFailed` with what they said.
Standards: RFC 4033 to 4035.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support import unbound
from tests.support.processes import StartFailed, Unavailable, find_program
from tests.support.unbound import PrivateUnbound

_HEAD = (
    "$ORIGIN {name}.\n$TTL 300\n"
    "@ 300 IN SOA ns.root-of-tests. nobody.root-of-tests. 1 3600 600 86400 60\n@ 300 IN NS ns.root-of-tests.\n"
)


def missing() -> str:
    """Why there can be no signed tree on this machine, "" if there can."""
    try:
        find_program("dnssec-signzone", "bind9-utils")
    except Unavailable as problem:
        return str(problem)
    return unbound.missing()


class SignedUnbound(PrivateUnbound):
    """One validating resolver over one signed tree. `reload` signs the new tree with the same keys."""

    def __init__(
        self,
        zone: str,
        *,
        signed: Sequence[str] = (),
        unsigned: Sequence[str] = (),
        bogus: Sequence[str] = (),
        expired: Sequence[str] = (),
        failing: Sequence[str] = (),
        tampered: Sequence[tuple[str, str]] = (),
        listen: str = "",
        options: Sequence[str] = (),
    ) -> None:
        """zone: one record per line with absolute names.

        signed, unsigned, bogus, expired, failing: names that become zones of their own: as good as the root, without
        signatures (and securely so), with signatures of a key that the parent does not know, with signatures that ended
        long ago, or with a server that answers nothing. tampered: (name, type) of record sets whose signature does not
        fit. listen: an address at whose port 53 it answers too.
        """
        self._signer = find_program("dnssec-signzone", "bind9-utils")
        self._kinds = {
            **dict.fromkeys(signed, "signed"),
            **dict.fromkeys(unsigned, "unsigned"),
            **dict.fromkeys(bogus, "bogus"),
            **dict.fromkeys(expired, "expired"),
            **dict.fromkeys(failing, "failing"),
        }
        self.tampered = list(tampered)
        self._known_keys: dict[str, str] = {}
        validating = ['module-config: "validator iterator"', "trust-anchor-file: anchor.key"]
        listening = [f"interface: {listen}@53"] if listen else []
        super().__init__(zone, options=[*options, *validating, *listening])

    def _clauses(self) -> list[str]:
        return [line for name in self._kinds for line in self._auth_zone(f"{name}.", f"{name}.zone")]

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.base, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode:
            raise StartFailed(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _key(self, zone: str) -> str:
        """File name of a zone's key, made at the first call."""
        if zone not in self._known_keys:
            program = str(Path(self._signer).with_name("dnssec-keygen"))
            made = self._run(program, "-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "-n", "ZONE", f"{zone}.")
            self._known_keys[zone] = made.strip()
        return self._known_keys[zone]

    def _sign(self, zone: str, file: str, *options: str) -> None:
        """Sign a zone in its file; the zone "" is the root."""
        path = self.base / file
        key = self._key(zone)
        with path.open("a") as out:
            out.write((self.base / f"{key}.key").read_text())
        origin = f"{zone}." if zone else "."
        self._run(
            self._signer, "-q", "-z", "-P", "-O", "full", *options, "-o", origin, "-f", f"{file}.signed", file, key
        )
        (self.base / f"{file}.signed").replace(path)

    def _after_writing(self) -> None:
        root = self.base / "root.zone"
        parts: dict[str, list[str]] = {name: [] for name in self._kinds}
        rest: list[str] = []
        for line in root.read_text().splitlines():
            owner = line.split(maxsplit=1)[0].rstrip(".").lower() if line else ""
            below = [name for name in parts if owner == name or owner.endswith(f".{name}")]
            (parts[max(below, key=len)] if below else rest).append(line)
        for name, lines in parts.items():
            rest.append(f"{name}. 300 IN NS ns.root-of-tests.")
            kind, file = self._kinds[name], f"{name}.zone"
            # A zone without a SOA is one whose servers fail.
            text = "" if kind == "failing" else _HEAD.format(name=name) + "\n".join(lines) + "\n"
            (self.base / file).write_text(text)
            if kind in ("signed", "bogus", "expired"):
                period = ("-s", "20200101000000", "-e", "20200201000000") if kind == "expired" else ()
                self._sign(name, file, *period)
                rest.append(self._delegation(name, kind))
        root.write_text("\n".join(rest) + "\n")
        self._sign("", "root.zone")
        root.write_text("\n".join(map(self._spoiled, root.read_text().splitlines())) + "\n")
        (self.base / "anchor.key").write_text((self.base / f"{self._key('')}.key").read_text())

    def _delegation(self, name: str, kind: str) -> str:
        """The DS record for a zone, for a bogus one with a digest of no key."""
        program = str(Path(self._signer).with_name("dnssec-dsfromkey"))
        record = self._run(program, "-2", f"{self._key(name)}.key").strip()
        return f"{record[:-8]}00000000" if kind == "bogus" else record

    def _spoiled(self, line: str) -> str:
        """The line, with another signature if it is one of a tampered record set."""
        fields = line.split()
        if len(fields) < 13 or fields[3] != "RRSIG":
            return line
        if (fields[0].rstrip(".").lower(), fields[4]) not in self.tampered:
            return line
        flipped = "B" if fields[12][0] == "A" else "A"
        return " ".join([*fields[:12], flipped + fields[12][1:], *fields[13:]])
