"""What `authmilter bimi` prints: an explanation in, text or JSON out. Pure.

Security: outside text goes through `headers.escape`; JSON escapes it by itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from authmilter.facts import BimiFact
from authmilter.headers.bimi_fields import bimi_fields
from authmilter.headers.escape import printable
from authmilter.headers.results_field import bimi_entry

_SHOWN = 400  # characters of a step
_LINES = 3  # of a header field


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    passed: bool
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    domain: str
    selector: str
    steps: tuple[Step, ...]
    fact: BimiFact  # what a message that passes DMARC would get
    svg: bytes


def as_json_text(explanation: Explanation) -> str:
    """One object; its keys are stable."""
    fact = explanation.fact
    found = {
        "domain": explanation.domain,
        "selector": explanation.selector,
        "result": str(fact.result),
        "reason": fact.reason,
        "record_domain": fact.domain,
        "authority": fact.authority and str(fact.authority),
        "authority_uri": fact.authority_uri,
        "indicator_uri": fact.indicator_uri,
        "mark_type": fact.mark_type,
        "steps": [{"step": step.name, "passed": step.passed, "text": step.text} for step in explanation.steps],
        "results_entry": " ".join(bimi_entry(fact)),
        "headers": [list(pair) for pair in bimi_fields(fact)],
    }
    return json.dumps(found, indent=2)


def as_text(explanation: Explanation) -> str:
    """The same for people."""
    width = max((len(step.name) for step in explanation.steps), default=0)
    lines = [
        f"{'ok  ' if step.passed else 'FAIL'}  {step.name:{width}}  {printable(step.text, limit=_SHOWN)}"
        for step in explanation.steps
    ]
    fact = explanation.fact
    lines += ["", f"Mail of {explanation.domain} that passes DMARC gets:", "  " + " ".join(bimi_entry(fact))]
    for name, value in bimi_fields(fact):
        first = value.split("\n")
        more = f" ... ({len(first)} lines)" if len(first) > _LINES else ""
        lines.append(f"  {name}: {' '.join(part.strip() for part in first[:_LINES])}{more}")
    return "\n".join(lines)
