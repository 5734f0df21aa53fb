"""A JSON Schema of our own for the report of RFC 8460 §4.4."""

from __future__ import annotations

from typing import Any

import jsonschema

_DOMAIN = {"type": "string", "pattern": r"^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9-]{2,63}$"}
_PATTERN = {"type": "string", "pattern": r"^(\*\.)?([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}$"}
_COUNT = {"type": "integer", "minimum": 0}
_TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
_ADDRESS = {"type": "string", "pattern": r"^[0-9a-f:.]{2,45}$"}
_TEXT = {"type": "string", "minLength": 1, "maxLength": 500}

RESULT_TYPES = [
    "starttls-not-supported",
    "certificate-host-mismatch",
    "certificate-expired",
    "certificate-not-trusted",
    "validation-failure",
    "tlsa-invalid",
    "dnssec-invalid",
    "dane-required",
    "sts-policy-fetch-error",
    "sts-policy-invalid",
    "sts-webpki-invalid",
]


def _closed(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": {**required, **optional},
    }


_FAILURE = _closed(
    {"result-type": {"enum": RESULT_TYPES}, "failed-session-count": {"type": "integer", "minimum": 1}},
    **{
        "sending-mta-ip": _ADDRESS,
        "receiving-mx-hostname": _PATTERN,
        "receiving-mx-helo": _TEXT,
        "receiving-ip": _ADDRESS,
        "additional-information": _TEXT,
        "failure-reason-code": _TEXT,
    },
)
_POLICY = _closed(
    {
        "policy": _closed(
            {
                "policy-type": {"enum": ["tlsa", "sts", "no-policy-found"]},
                "policy-string": {"type": "array", "items": {"type": "string", "minLength": 1}},
                "policy-domain": _DOMAIN,
                "mx-host": {"type": "array", "items": _PATTERN},
            }
        ),
        "summary": _closed({"total-successful-session-count": _COUNT, "total-failure-session-count": _COUNT}),
        "failure-details": {"type": "array", "items": _FAILURE},
    }
)
SCHEMA = _closed(
    {
        "organization-name": {"type": "string", "minLength": 1},
        "date-range": _closed({"start-datetime": _TIME, "end-datetime": _TIME}),
        "contact-info": {"type": "string", "pattern": r"^[^@\s]+@[^@\s]+$"},
        "report-id": {"type": "string", "pattern": r"^[A-Za-z0-9]+@[a-z0-9.-]+$"},
        "policies": {"type": "array", "minItems": 1, "items": _POLICY},
    }
)
_VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def check(told: object) -> None:
    """Raises jsonschema.ValidationError if `told` is no such report."""
    _VALIDATOR.validate(told)
