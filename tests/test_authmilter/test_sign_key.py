"""Key files: which are taken, which are refused and with which words; nothing of a key is ever shown."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from authmilter.dkim import key as records
from authmilter.sign.key import KeyFileError, Reader, load
from tests.support.dkim_signer import dns_record, make_key, pem, seed

RSA, ED = make_key(), make_key("ed25519")
DIGEST = hashlib.sha256(b"what is signed").digest()


def write(folder: Path, octets: bytes, mode: int = 0o600) -> Path:
    path = folder / "s1.pem"
    path.write_bytes(octets)
    path.chmod(mode)
    return path


def pkcs8(key: object, encryption: object = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize(
    ("octets", "key", "kind", "bits"),
    [
        (pem(RSA), RSA, "rsa", 2048),
        (pkcs8(RSA), RSA, "rsa", 2048),
        (b"made by hand\n" + pkcs8(RSA) + b"\n\n", RSA, "rsa", 2048),
        (pkcs8(ED), ED, "ed25519", 256),
        (base64.b64encode(seed(ED)) + b"\n", ED, "ed25519", 256),  # as dkimpy's dknewkey writes it
    ],
)
def test_what_is_read_signs_for_the_record_that_is_published(
    tmp_path: Path, octets: bytes, key: rsa.RSAPrivateKey, kind: str, bits: int
) -> None:
    read = load(write(tmp_path, octets))
    assert (read.kind, read.bits, read.algorithm) == (kind, bits, f"{kind}-sha256")
    record = f"v=DKIM1; k={kind}; p={read.public_base64()}"
    assert record == dns_record(key)
    assert records.parse(record.encode()).verify(read.sign(DIGEST), DIGEST)


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"", "is no private key in PEM form"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is no private key in PEM form"),
        (dns_record(RSA).encode(), "is no private key in PEM form"),
        (b"A" * 70_000, "has more than 65536 bytes"),
        (pem(make_key(bits=1024)), "is an RSA key of 1024 bits, 2048 to 4096 are usable"),
        (pkcs8(ec.generate_private_key(ec.SECP256R1())), "is neither an RSA nor an Ed25519 key"),
        (pkcs8(RSA, BestAvailableEncryption(b"secret")), "openssl pkey -in .* -out NEW takes it off"),
    ],
)
def test_what_is_no_usable_key(tmp_path: Path, octets: bytes, words: str) -> None:
    path = write(tmp_path, octets)
    with pytest.raises(KeyFileError, match=words) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_key_material_is_in_no_representation(tmp_path: Path) -> None:
    read = load(write(tmp_path, pem(RSA)))
    assert repr(read) == str(read) == "PrivateKey(kind='rsa', bits=2048)"


@pytest.mark.parametrize(
    ("file_mode", "allowed", "words"),
    [
        (0o600, 0o640, ""),
        (0o640, 0o640, ""),
        (0o400, 0o600, ""),
        (0o644, 0o644, ""),
        (0o640, 0o600, "has mode 0640, at most 0600 is allowed: chmod 0600"),
        (0o644, 0o640, "has mode 0644, at most 0640 is allowed: chmod 0640"),
        (0o660, 0o640, "has mode 0660"),
        (0o4600, 0o640, "has mode 4600"),
    ],
)
def test_modes(tmp_path: Path, file_mode: int, allowed: int, words: str) -> None:
    path = write(tmp_path, pem(RSA), file_mode)
    if words:
        with pytest.raises(KeyFileError, match=words):
            load(path, allowed)
    else:
        assert load(path, allowed).bits == 2048


def read_as_nobody(path: Path, words: str) -> None:
    """The key is read, or refused with `words`."""
    reader = Reader.of("nobody")
    if words:
        with pytest.raises(KeyFileError, match=words):
            load(path, reader=reader)
    else:
        assert load(path, reader=reader).bits == 2048


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(
    ("owner", "group", "mode", "words"),
    [
        ("root", "root", 0o755, ""),
        ("root", "nogroup", 0o770, ""),
        ("nobody", "nogroup", 0o700, ""),
        ("root", "mail", 0o775, "group mail may replace it: chmod g-w"),
        ("root", "mail", 0o755, ""),
        ("root", "root", 0o700, "user nobody cannot get into .*/keys: chmod a\\+x"),
        ("root", "mail", 0o750, "user nobody cannot get into"),
        ("root", "nogroup", 0o750, ""),
        ("mail", "mail", 0o755, "user mail may replace it: chown root"),
    ],
)
def test_folders(tmp_path: Path, owner: str, group: str, mode: int, words: str) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    path = write(folder, pem(RSA), 0o640)
    shutil.chown(path, "root", "nogroup")
    shutil.chown(folder, owner, group)
    folder.chmod(mode)
    read_as_nobody(path, words)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(
    ("owner", "group", "mode", "words"),
    [
        ("root", "nogroup", 0o640, ""),
        ("nobody", "nogroup", 0o600, ""),
        ("root", "root", 0o600, "cannot be read by user nobody: chown root:nogroup .* && chmod 0640"),
        ("root", "mail", 0o640, "may be read by group mail: chown root:nogroup"),
        ("mail", "nogroup", 0o640, "belongs to user mail, who could change it: chown root:nogroup"),
    ],
)
def test_owners(tmp_path: Path, owner: str, group: str, mode: int, words: str) -> None:
    path = write(tmp_path, pem(RSA), mode)
    tmp_path.chmod(0o755)
    shutil.chown(path, owner, group)
    read_as_nobody(path, words)


def test_places_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="there is no such file: make a key with `authmilter key new`"):
        load(tmp_path / "missing.pem")
    with pytest.raises(KeyFileError, match="Is a directory"):
        load(tmp_path)
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(KeyFileError, match="is not a file"):
        load(tmp_path / "fifo")


def test_a_folder_in_which_everybody_may_write(tmp_path: Path) -> None:
    path = write(tmp_path, pem(RSA))
    tmp_path.chmod(0o777)
    with pytest.raises(KeyFileError, match="everybody may replace it: chmod o-w"):
        load(path)
    tmp_path.chmod(0o1777)
    assert load(path).bits == 2048
