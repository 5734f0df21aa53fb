"""Messages of our own users through the `Transaction`, signed with keys that tests make.

keys = Keys(tmp_path)
tables = keys.tables({"main": ("example.org", "s1", "rsa")}, {"example.org": ["main"]})
signed = sign_message(message, tables)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from authmilter.transaction import Outcome
from tests.support.dkim_signer import PrivateKey, dns_record, make_key
from tests.support.dkim_zone import TxtTable
from tests.support.inbound import run_message

NOBODY: Any = TxtTable({})


def pkcs8(key: PrivateKey) -> bytes:
    """The key as `authmilter key new` writes it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Keys:
    """Key files in a folder, and the records of their public halves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: dict[str, str] = {}  # name in the DNS -> text

    def add(self, domain: str, selector: str, kind: str = "rsa") -> Path:
        """Write a key file, readable by its owner alone."""
        key = make_key(kind)
        path = self.folder / f"{domain}.{selector}.pem"
        path.write_bytes(pkcs8(key))
        path.chmod(0o600)
        self.records[f"{selector}._domainkey.{domain}"] = dns_record(key)
        return path

    def tables(
        self, identities: Mapping[str, tuple[str, str, str]], table: Mapping[str, Sequence[str]], **sign: Any
    ) -> dict[str, Any]:
        """`[sign]` for identities of (domain, selector, kind of key), with further settings."""
        keys = {
            name: {"domain": domain, "selector": selector, "file": str(self.add(domain, selector, kind))}
            for name, (domain, selector, kind) in identities.items()
        }
        return {"sign": {**sign, "keys": keys, "table": {pattern: list(names) for pattern, names in table.items()}}}


def submit(message: bytes, tables: Mapping[str, Any], **options: Any) -> Outcome:
    """What becomes of a message of the authenticated user alice@example.org; options of `run_message`."""
    given = {"auth_user": "alice@example.org", "mail_from": "alice@example.org", **options}
    return run_message(message, NOBODY, tables=tables, **given)


def with_added(message: bytes, outcome: Outcome) -> bytes:
    """The message, which has CRLF lines, with what is added to it."""
    added = "".join(f"{name}: {value}\n" for name, value in outcome.actions.headers_add)
    return added.replace("\n", "\r\n").encode() + message


def sign_message(message: bytes, tables: Mapping[str, Any], **options: Any) -> bytes:
    """The message with our signatures on top."""
    return with_added(message, submit(message, tables, **options))
