"""Keys that others have too: on a list in badkeys' format, or weak by their numbers."""

from __future__ import annotations

import hashlib
import importlib
import os
import secrets
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from authmilter.dkim.compromised import CompromisedKeys
from authmilter.dkim.settings import DkimSettings
from authmilter.facts import DkimResult
from tests.support.command import authmilter, write_settings
from tests.support.dkim_signer import PrivateKey, dns_record, make_key, sign
from tests.test_authmilter.test_dkim_check import BODY, FIELDS, verify

RSA, ED, OTHER = make_key("rsa"), make_key("ed25519"), make_key("rsa", serial=1)
LISTED = "the private key is publicly known"


def octets(key: PrivateKey) -> bytes:
    public = key.public_key()
    if isinstance(public, Ed25519PublicKey):
        return public.public_bytes_raw().lstrip(b"\0")
    number = public.public_numbers().n
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def blocklist(folder: Path, *keys: PrivateKey, others: int = 1000) -> Path:
    """A file as badkeys distributes it: sorted, 15 octets of the hash and the number of a list."""
    hashes = [hashlib.sha256(octets(key)).digest()[:15] for key in keys]
    hashes += [secrets.token_bytes(15) for _ in range(others)]
    path = folder / "blocklist.dat"
    path.write_bytes(b"".join(each + b"\x07" for each in sorted(hashes)))
    return path


@pytest.mark.parametrize("others", [0, 1, 2, 1000])
def test_the_list(tmp_path: Path, others: int) -> None:
    found = CompromisedKeys(str(blocklist(tmp_path, RSA, ED, others=others)))
    assert found.faults == []
    assert [found.reason(key.public_key()) for key in (RSA, ED, OTHER)] == [LISTED, LISTED, ""]


def test_the_list_is_read_as_badkeys_reads_it(tmp_path: Path) -> None:
    pytest.importorskip("badkeys")
    block: Any = importlib.import_module("badkeys.allkeys.block")
    data = blocklist(tmp_path, RSA, ED).read_bytes()
    block._blmeta = {7: {"name": "test"}}
    for key in (RSA, ED, OTHER):
        theirs = block._checkbl(data, hashlib.sha256(octets(key)).digest()[:15])
        assert bool(theirs) == (key is not OTHER)


def checked(key: PrivateKey, found: CompromisedKeys, body: bytes = BODY) -> tuple[DkimResult, str]:
    field = sign(FIELDS, BODY, "example.com", "s", key)
    fact = verify([field, *FIELDS], dns_record(key), body, compromised=found)[0]
    return fact.result, fact.reason


def test_a_listed_key_proves_nothing(tmp_path: Path) -> None:
    found = CompromisedKeys(str(blocklist(tmp_path, RSA, ED)))
    assert checked(RSA, found) == checked(ED, found) == (DkimResult.POLICY, LISTED)
    assert checked(OTHER, found) == (DkimResult.PASS, "")
    assert DkimSettings().compromised is None


def close_primes() -> rsa.RSAPrivateKey:
    """A key whose primes are next to each other, as a known card and printer made them."""
    gmpy2: Any = pytest.importorskip("gmpy2")
    p = gmpy2.next_prime(gmpy2.mpz(secrets.randbits(1023) | 1 << 1023))
    q = gmpy2.next_prime(p)
    p, q = int(q), int(p)
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


def test_a_key_that_can_be_computed() -> None:
    pytest.importorskip("badkeys")
    weak = close_primes()
    found = CompromisedKeys(weak=True)
    assert found.faults == []
    assert checked(weak, found) == (DkimResult.POLICY, "the private key can be computed (fermat)")
    assert checked(weak, CompromisedKeys()) == (DkimResult.PASS, "")
    assert checked(RSA, found) == checked(ED, found) == (DkimResult.PASS, "")


@pytest.mark.parametrize("number", [1, 2, 3, 4, 2**2048, 2**2047 + 1, 3**1000, 65537])
@pytest.mark.parametrize("exponent", [1, 2, 3, 65537, 2**60])
def test_numbers_that_nobody_thought_of(number: int, exponent: int) -> None:
    pytest.importorskip("badkeys")
    CompromisedKeys(weak=True)._find(number, exponent)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        (b"", "is no list of 16-byte records"),
        (b"x" * 17, "is no list of 16-byte"),
        (secrets.token_bytes(1600), "is no list of 16-byte records in order"),
    ],
)
def test_a_list_that_cannot_be_used(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "blocklist.dat"
    if content is not None:
        path.write_bytes(content)
    found = CompromisedKeys(str(path))
    assert words in found.faults[0]
    assert found.reason(RSA.public_key()) == ""
    config = write_settings(tmp_path, {"socket": f"unix:{tmp_path}/m.sock", "dkim": {"blocklist": str(path)}})
    for command in ("serve", "config"):
        line = authmilter(command, "--config", config).refused()
        assert "[dkim] blocklist: " in line
        assert words in line


def test_a_list_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        assert "is no list of 16-byte records" in CompromisedKeys(str(path)).faults[0]


def test_a_list_that_is_overwritten_while_it_is_in_use(tmp_path: Path) -> None:
    """cp(1) cuts the file short first: a mapped file would end the process with SIGBUS."""
    path = blocklist(tmp_path, RSA)
    found = CompromisedKeys(str(path))
    path.write_bytes(b"")
    assert found.reason(ED.public_key()) == ""
    path.write_bytes(blocklist(tmp_path, RSA, ED).read_bytes())
    assert [found.reason(key.public_key()) for key in (RSA, OTHER)] == [LISTED, ""]


def test_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert CompromisedKeys(weak=True).faults == ["check_weak_keys needs a package: pip install 'gatepost[badkeys]'"]
