"""Private keys: from a file to the one operation that signs a digest (RFC 6376 §3.3, RFC 8301 §3, RFC 8463 §3).

    key = load(Path("/etc/gatepost/keys/example.org.s1.pem"))
    key.sign(digest)

Read are PEM files as openssl(1), opendkim-genkey(8) and `authmilter key new` write them, and dkimpy's Ed25519 files
(the base64 of the 32 octets).

Diagnostics: `KeyFileError`, whose text names the file, what is wrong with it and the cure. Nothing of the key is in it.
Limits: 64 KB per file; RSA keys of 2048 to 4096 bits (RFC 8301 §3.2: signers SHOULD use at least 2048, verifiers need
not take more than 4096).
Security: a file that other users may read or replace is refused: it belongs to root or to the daemon's user, has no
mode bits beyond those given, and may be read by no group that the daemon's user is not in; nobody else may write into
its directory (those above it are not looked at).
"""

from __future__ import annotations

import base64
import grp
import os
import pwd
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from authmilter.dkim import taglist

MAX_FILE = 65_536  # octets; the PEM of a 4096-bit key has 3,300
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 4096
DEFAULT_MODE = 0o640

_PADDING = PKCS1v15()
_DIGEST = Prehashed(SHA256())


class KeyFileError(Exception):
    """The key cannot be used; the text names the file and says what to do."""


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """The private half of a key. Its octets are in no representation of it."""

    kind: str  # "rsa" or "ed25519", as k= has it
    bits: int  # of the RSA modulus; 256 for Ed25519
    private: RSAPrivateKey | Ed25519PrivateKey = field(repr=False)

    @property
    def algorithm(self) -> str:
        """The word for a= (RFC 6376 §3.3.2, RFC 8463 §3)."""
        return f"{self.kind}-sha256"

    def sign(self, digest: bytes) -> bytes:
        """Give the octets of b= for `digest`, a SHA-256."""
        if self.kind == "rsa":
            return cast(RSAPrivateKey, self.private).sign(digest, _PADDING, _DIGEST)
        return cast(Ed25519PrivateKey, self.private).sign(digest)  # RFC 8463 §3: PureEdDSA over the SHA-256

    def public_base64(self) -> str:
        """Give p= of the key record."""
        public = self.private.public_key()
        if self.kind == "ed25519":  # RFC 8463 §4: the 32 octets themselves
            octets = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        else:  # RFC 6376 §3.6.1 and erratum 3017: SubjectPublicKeyInfo, as everybody publishes it
            octets = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(octets).decode()


@dataclass(frozen=True, slots=True)
class Reader:
    """The user as whom the daemon reads keys."""

    name: str
    uid: int
    gid: int
    gids: frozenset[int]

    @classmethod
    def of(cls, user: str) -> Reader:
        """User `user`, "" for that of this process. KeyError if there is none of this name."""
        if not user:
            gid = os.getegid()
            return cls(_user(os.geteuid()), os.geteuid(), gid, frozenset((gid, *os.getgroups())))
        entry = pwd.getpwnam(user)
        return cls(user, entry.pw_uid, entry.pw_gid, frozenset(os.getgrouplist(user, entry.pw_gid)))

    def can_read(self, file: os.stat_result) -> bool:
        """Whether the mode lets this user read (ACLs are not looked at)."""
        return self._has_one_of(file, (stat.S_IRUSR, stat.S_IRGRP, stat.S_IROTH))

    def can_enter(self, folder: os.stat_result) -> bool:
        """The same for files in a directory."""
        return self._has_one_of(folder, (stat.S_IXUSR, stat.S_IXGRP, stat.S_IXOTH))

    def _has_one_of(self, found: os.stat_result, bits: tuple[int, int, int]) -> bool:
        """Whether that bit is set which counts for this user: the owner's, the group's or that of others."""
        owner, group, others = bits
        not_owner = group if found.st_gid in self.gids else others
        return self.uid == 0 or bool(found.st_mode & (owner if self.uid == found.st_uid else not_owner))


def load(path: Path, mode: int = DEFAULT_MODE, reader: Reader | None = None) -> PrivateKey:
    """Read the key file at `path`; raises KeyFileError.

    `mode`: the permission bits that it may have at most. `reader`: the daemon's user, None for that of this process.
    """
    reader = reader or Reader.of("")
    try:
        # O_NONBLOCK: a FIFO there must not stop the daemon
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            _check_access(path, os.fstat(file.fileno()), path.parent.stat(), mode, reader)
            text = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise KeyFileError(f"{path}: there is no such file: make a key with `authmilter key new`") from None
    except PermissionError:
        if reader.uid == os.geteuid():
            # the mode of a file that cannot be reached is not known
            cure = f"{_cure(path, reader)}, and every directory above it lets this user in"
            raise KeyFileError(f"{path}: cannot be read by user {reader.name}: {cure}") from None
        raise KeyFileError(f"{path}: cannot be read by user {_user(os.geteuid())}: try as root") from None
    except OSError as fault:
        raise KeyFileError(f"{path}: cannot be read: {fault.strerror}") from None
    if len(text) > MAX_FILE:
        raise KeyFileError(f"{path}: is no key file: it has more than {MAX_FILE} bytes")
    return _read(path, text)


def _check_access(path: Path, file: os.stat_result, folder: os.stat_result, mode: int, reader: Reader) -> None:
    """Refuse a file that others may read or change."""
    if not stat.S_ISREG(file.st_mode):
        raise KeyFileError(f"{path}: is not a file")
    if file.st_uid not in (0, reader.uid):
        raise KeyFileError(f"{path}: belongs to user {_user(file.st_uid)}, who could change it: {_cure(path, reader)}")
    found = stat.S_IMODE(file.st_mode)
    if found & ~mode:
        raise KeyFileError(f"{path}: has mode {found:04o}, at most {mode:04o} is allowed: chmod {mode:04o} {path}")
    if found & stat.S_IRGRP and not mode & stat.S_IROTH and file.st_gid not in (0, *reader.gids):
        raise KeyFileError(f"{path}: may be read by group {_group(file.st_gid)}: {_cure(path, reader)}")
    _check_folder(path, folder, reader)
    if not reader.can_enter(folder):
        raise KeyFileError(f"{path}: user {reader.name} cannot get into {path.parent}: chmod a+x {path.parent}")
    if not reader.can_read(file):
        raise KeyFileError(f"{path}: cannot be read by user {reader.name}: {_cure(path, reader)}")


def _check_folder(path: Path, folder: os.stat_result, reader: Reader) -> None:
    """Refuse a file that others may replace: who may write into its directory."""
    if folder.st_uid not in (0, reader.uid):
        raise KeyFileError(f"{path}: user {_user(folder.st_uid)} may replace it: chown root {path.parent}")
    if folder.st_mode & stat.S_ISVTX:
        return
    if folder.st_mode & stat.S_IWOTH:
        raise KeyFileError(f"{path}: everybody may replace it: chmod o-w {path.parent}")
    if folder.st_mode & stat.S_IWGRP and folder.st_gid not in (0, *reader.gids):
        raise KeyFileError(f"{path}: group {_group(folder.st_gid)} may replace it: chmod g-w {path.parent}")


def _cure(path: Path, reader: Reader) -> str:
    return f"chown root:{_group(reader.gid)} {path} && chmod 0640 {path}"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _read(path: Path, text: bytes) -> PrivateKey:
    try:
        private = _seed(text) or load_pem_private_key(text, password=None)
    except TypeError:
        # what cryptography has to say of an encrypted key
        cure = f"openssl pkey -in {path} -out NEW takes it off"
        raise KeyFileError(f"{path}: is protected by a passphrase, which nobody types in here: {cure}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError(f"{path}: is no private key in PEM form: make one with `authmilter key new`") from None
    if isinstance(private, Ed25519PrivateKey):
        return PrivateKey("ed25519", 256, private)
    if not isinstance(private, RSAPrivateKey):
        raise KeyFileError(f"{path}: is neither an RSA nor an Ed25519 key (RFC 8301 §3.1, RFC 8463 §3)")
    if not MIN_RSA_BITS <= private.key_size <= MAX_RSA_BITS:
        # RFC 8301 §3.2: SHOULD be at least 2048; verifiers must take up to 4096
        raise KeyFileError(
            f"{path}: is an RSA key of {private.key_size} bits, {MIN_RSA_BITS} to {MAX_RSA_BITS} are usable: make one "
            "for a new selector with `authmilter key new`"
        )
    return PrivateKey("rsa", private.key_size, private)


def _seed(text: bytes) -> Ed25519PrivateKey | None:
    """The Ed25519 key in a file of dkimpy: nothing but the base64 of its 32 octets."""
    octets = taglist.base64_octets(text) if len(text) < 100 else None
    return Ed25519PrivateKey.from_private_bytes(octets) if octets and len(octets) == 32 else None
