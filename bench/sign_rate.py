"""Messages signed per second, beside opendkim in sign mode and a milter that does nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench import corpus, rate
from bench.corpus import AUTHSERV_ID
from bench.domains import Domain
from bench.peers import PEERS, Peer, Place
from bench.run import Bench, write_corpus
from tests.support.dkim_signer import PrivateKey, make_key
from tests.support.processes import find_program

_FIELD = "DKIM-Signature"
_FINDS = ("a=rsa-sha256",)


def _key_file(place: Place, name: str, key: PrivateKey) -> Path:
    path = place.directory / f"{name}.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return path


def _ours(domains: Sequence[Domain], both: bool) -> Callable[[Place], Sequence[str | Path]]:
    """`both`: an Ed25519 signature too."""

    def command(place: Place) -> Sequence[str | Path]:
        lines = [f'socket = "unix:{place.socket}"', f'authserv_id = "{AUTHSERV_ID}"']
        lines += ["[dns]", f'nameservers = ["{place.dns.with_port}"]', "[trust]", 'networks = ["0.0.0.0/0"]']
        table = ["[sign.table]"]
        for domain in domains:
            keys = {"rsa": domain.key, **({"ed": make_key("ed25519")} if both else {})}
            for kind, key in keys.items():
                file = _key_file(place, f"{domain.name}.{kind}", key)
                lines += [f'[sign.keys."{domain.name}.{kind}"]', f'domain = "{domain.name}"', f'file = "{file}"']
                lines += [f'selector = "{domain.selector}{kind}"']
            names = ", ".join(f'"{domain.name}.{kind}"' for kind in keys)
            table.append(f'"{domain.name}" = [{names}]')
        config = place.write("authmilter.toml", "\n".join([*lines, *table, ""]))
        return [Path(sys.executable).with_name("authmilter"), "serve", "--config", config]

    return command


def _opendkim(domains: Sequence[Domain]) -> Callable[[Place], Sequence[str | Path]]:
    def command(place: Place) -> Sequence[str | Path]:
        program = find_program("opendkim", "opendkim")
        key_table = [
            f"{domain.name} {domain.name}:{domain.selector}:{_key_file(place, domain.name, domain.key)}"
            for domain in domains
        ]
        keys = place.write("keytable", "\n".join([*key_table, ""]))
        table = place.write("signingtable", "".join(f"{domain.name} {domain.name}\n" for domain in domains))
        config = place.write(
            "opendkim.conf",
            f"Mode s\nSocket local:{place.socket}\nKeyTable file:{keys}\nSigningTable file:{table}\n"
            "Canonicalization relaxed/relaxed\nOversignHeaders From\nInternalHosts 0.0.0.0/0\n"
            "RequireSafeKeys no\nSyslog no\nBackground no\n",
        )
        return [program, "-f", "-x", config]

    return command


def measure(bench: Bench, seconds: float, rounds: int) -> None:
    """Measure and print."""
    made, domains = corpus.unsigned()
    files = write_corpus(bench.directory, "unsigned", made)
    bench.tell(f"Corpus for signers: {made.describe()}")
    milters = (
        Peer("ours", _ours(domains, both=False), _FINDS, _FIELD),
        Peer("ours, two keys", _ours(domains, both=True), _FINDS, _FIELD),
        Peer("opendkim", _opendkim(domains), _FINDS, _FIELD),
        *(peer for peer in PEERS if peer.name == "noop"),
    )
    rate.compare(bench, milters, files, "sign", seconds, rounds, _tell_ratios)


def _tell_ratios(bench: Bench, figures: dict[str, rate.Figures]) -> None:
    rates = {name: row.rate for name, row in figures.items()}
    for name in ("opendkim", "noop"):
        for mine in ("ours", "ours, two keys"):
            if rates.get(name) and rates.get(mine):
                bench.tell(f"{mine} / {name}: {rates[mine] / rates[name]:.2f}")
