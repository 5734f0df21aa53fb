"""What smtp(8) asks its policy map: the record that the query parser is tested with stays true."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import pytest

from tests.support.loopback import Network
from tests.support.mx_host import MxHosts, StartTls
from tests.support.postfix_installation import Installation
from tests.support.postfix_keys import sent_keys
from tests.support.scripted_socketmap import ScriptedSocketmap
from tests.support.sending_postfix import POLICY_MAP, POLICY_MAP_TLSRPT, SendingPostfix
from tests.support.signed_zone import SignedUnbound

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

RECORD = {hop: [sent.key for sent in group] for hop, group in groupby(sent_keys(), key=lambda sent: sent.next_hop)}
BY = [hop.removeprefix("by:") for hop in RECORD if hop.startswith("by:")]

DOMAINS = ("a.example", "upper.example", "xn--bcher-kva.example", "xn--ber-goa.example")
STAND_IN = "192.0.2.25"  # in the record, for the address of mx.a.example

TRANSPORT = "inline:{ " + ", ".join(f"{{ t{n}.example = smtp:{hop} }}" for n, hop in enumerate(BY)) + " }"


def rcpt(next_hop: str) -> str:
    hop = next_hop.removeprefix("by:")
    return f"u@t{BY.index(hop)}.example" if hop != next_hop else f"u@{hop}"


@pytest.mark.parametrize("policy_map", [POLICY_MAP, POLICY_MAP_TLSRPT], ids=["policy", "policy-tlsrpt"])
def test_keys_are_those_of_the_record(
    installation: Installation, policy_map: str, loopback: Callable[[], Network]
) -> None:
    network = loopback()
    dns_address, mx_address = network.address(), network.address()
    zone = "".join(f"{domain}. 60 IN MX 10 mx.a.example.\n" for domain in DOMAINS)
    zone += f"mx.a.example. 60 IN A {mx_address}\n"
    with (
        SignedUnbound(zone, listen=dns_address),
        MxHosts() as hosts,
        SendingPostfix(
            nameserver=dns_address,
            policy_map=policy_map,
            installation=installation,
            settings={"transport_maps": TRANSPORT.replace(STAND_IN, mx_address)},
        ) as postfix,
        ScriptedSocketmap(postfix.policy_socket, lambda *_: b"NOTFOUND ") as server,
    ):
        hosts.add("mx.a.example", mx_address, starttls=StartTls.NONE)
        seen = {}
        for hop in RECORD:
            server.asked.clear()
            postfix.deliver(rcpt(hop).replace(STAND_IN, mx_address), utf8=not hop.isascii())
            seen[hop] = [key.replace(mx_address, STAND_IN) for key in server.asked_keys()]
            assert {name for name, _ in server.asked} == {policy_map.rpartition(":")[2]}
        assert seen == RECORD


def test_parents_are_not_asked_for_after_an_answer(loopback: Callable[[], Network]) -> None:
    network = loopback()
    dns_address, mx_address = network.address(), network.address()
    zone = f"a.example. 60 IN MX 10 mx.a.example.\nmx.a.example. 60 IN A {mx_address}\n"
    with (
        SignedUnbound(zone, listen=dns_address),
        MxHosts() as hosts,
        SendingPostfix(nameserver=dns_address) as postfix,
        ScriptedSocketmap(postfix.policy_socket, lambda *_: b"OK may") as server,
    ):
        hosts.add("mx.a.example", mx_address, starttls=StartTls.NONE)
        assert postfix.deliver("u@a.example").status == "sent"
        assert server.asked_keys() == ["a.example"]
