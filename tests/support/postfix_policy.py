"""How Postfix's smtp(8) takes a TLS policy line apart (smtp_tls_policy_maps), to see what it makes of ours.

Follows the documented syntax: words end at blanks, commas and line ends outside of braces; `{ name = value }` is one
word. An error gives ValueError: Postfix would defer the mail.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_ENDS = ", \t\r\n"
_BLANKS = " \t\r\n\v\f"
_ONCE = {"servername", "ciphers", "protocols", "policy_type", "policy_domain", "policy_failure", "policy_ttl"}
_REPORT = {"policy_domain", "policy_string", "mx_host_pattern", "policy_failure"}
_SETTINGS = {"exclude", "tafile", "connection_reuse", "enable_rpk"}  # known to Postfix, never ours
_FAILURES = {"sts-policy-fetch-error", "sts-policy-invalid", "sts-webpki-invalid", "validation-failure"}


@dataclass
class PolicyLine:
    level: str
    attributes: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """Each value of the attribute, in order."""
        return [value for key, value in self.attributes if key == name]

    def names(self) -> list[str]:
        """The names that a certificate may have."""
        return [name for value in self.all("match") for name in value.split(":")]


def read_policy_line(line: str, tlsrpt: bool) -> PolicyLine:
    """What Postfix 3.10 (`tlsrpt`) or an older one makes of the line."""
    level, *words = _words(line) or [""]
    if level not in {"dane", "dane-only", "secure"}:
        raise ValueError(f"security level {level!r}")
    policy = PolicyLine(level)
    for word in words:
        name, value = _split(_unwrap(word) if word.startswith("{") else word)
        _check(policy, name, value, tlsrpt)
        policy.attributes.append((name, value))
    if {name for name, _ in policy.attributes} & _REPORT and not policy.all("policy_type"):
        raise ValueError("report attributes without policy_type")
    return policy


def _check(policy: PolicyLine, name: str, value: str, tlsrpt: bool) -> None:
    known = {"match", "servername"} | (_REPORT | {"policy_type"} if tlsrpt else set())
    if name in _SETTINGS or name not in known:
        raise ValueError(f"attribute {name!r}")
    if name in _ONCE and policy.all(name):
        raise ValueError(f"{name} twice")
    if name == "match" and (not value or policy.level != "secure"):
        raise ValueError("match")
    if name == "policy_type" and value not in {"sts", "no-policy-found"}:
        raise ValueError(f"policy_type {value!r}")
    if name == "policy_failure" and value not in _FAILURES:
        raise ValueError(f"policy_failure {value!r}")


def _words(line: str) -> list[str]:
    words, word, depth = [], "", 0
    for char in line:
        if depth == 0 and char in _ENDS:
            words.append(word)
            word = ""
            continue
        if char == "{":
            depth += 1
        elif char == "}" and depth > 0:
            depth -= 1
        word += char
    words.append(word)
    return [each for each in words if each]


def _unwrap(word: str) -> str:
    depth = 0
    for at, char in enumerate(word):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            if at + 1 != len(word):
                raise ValueError("text after a closing brace")
            return " ".join(word[1:-1].split())
    raise ValueError("no closing brace")


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    name = name.strip(_BLANKS)
    if not name or not equals or any(char in _BLANKS for char in name):
        raise ValueError(f"no name=value: {text!r}")
    return name.lower(), value.strip(_BLANKS)
