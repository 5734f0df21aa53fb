"""The value of Received-SPF (RFC 7208 §9.1): one SPF fact in, text out. Pure."""

from __future__ import annotations

from authmilter.facts import Client, SpfFact, SpfResult
from authmilter.headers import escape
from authmilter.headers.fold import fold

NAME = "Received-SPF"

_SAYS = {
    SpfResult.NONE: "{domain} does not designate permitted sender hosts",
    SpfResult.NEUTRAL: "{ip} is neither permitted nor denied by {domain}",
    SpfResult.PASS: "{domain} designates {ip} as permitted sender",
    SpfResult.FAIL: "{domain} does not designate {ip} as permitted sender",
    SpfResult.SOFTFAIL: "{domain} probably does not designate {ip} as permitted sender",
    SpfResult.TEMPERROR: "the policy of {domain} cannot be had now",
    SpfResult.PERMERROR: "the policy of {domain} cannot be evaluated",
}


def render_received_spf(fact: SpfFact, client: Client, receiver: str, smtputf8: bool = False) -> str:
    """The field value, folded with LF and TAB, without a leading blank; `receiver` is this host's name."""
    by_helo = fact.scope == "helo"
    says = _SAYS[fact.result].format(domain=fact.domain or "the sender's domain", ip=client.ip)
    pairs = [("identity", "helo" if by_helo else "mailfrom")]
    if client.ip:
        pairs.append(("client-ip", escape.dot_atom_value(client.ip)))
    if client.helo:
        pairs.append(("helo", escape.dot_atom_value(client.helo)))
    if fact.identity and not by_helo:
        pairs.append(("envelope-from", escape.address_value(fact.identity, smtputf8)))
    pairs.append(("receiver", escape.dot_atom_value(receiver)))
    if fact.mechanism:
        pairs.append(("mechanism", escape.dot_atom_value(fact.mechanism)))
    if fact.reason:
        pairs.append(("problem", escape.quoted(fact.reason)))
    words = [f"{key}={text};" for key, text in pairs]
    words[-1] = words[-1][:-1]
    return fold([[fact.result.value, escape.comment(f"{receiver}: {says}", smtputf8)], words], NAME)
