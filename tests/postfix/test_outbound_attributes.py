"""The TLSRPT attributes of Postfix 3.10: what its parser makes of our lines, read back from what it reports.

libtlsrpt's datagrams carry the policy as Postfix understood it, so nothing here has to trust the text of an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.outbound import Outbound, policy
from tests.support.postfix_installation import HOST, Installation
from tests.support.scripted_socketmap import ScriptedSocketmap
from tests.support.sending_postfix import POLICY_MAP_TLSRPT, Fate
from tests.support.tlsrpt_socket import TlsrptSocket
from tlspolicyd.facts import Decision, Failure, Level, Mode, Policy, Source, StsFact
from tlspolicyd.render import MAX_REPLY, render

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

REPORTING = {"smtp_tlsrpt_enable": "yes", "smtp_tlsrpt_socket_name": "tlsrpt/socket"}

# Lines that an owner may put into a policy (RFC 8461 §3.2: unknown keys are ignored) to get at Postfix's parser: the
# impostor's host might become a name that is allowed, or the whole no policy at all.
HOSTILE = [
    "x1: } match=mx.impostor.example {",
    "x2: } mx_host_pattern=mx.impostor.example { policy_string = x",
    "x3: {",
    "x4: }",
    "x5: a, match=mx.impostor.example, b",
    "x6: } policy_failure=validation-failure {",
    "x7: } policy_type=no-policy-found {",
    "x8: = = =",
    'x9: "',
    "xa: \\",
    "xb: a\tb",
    "xc: ü€",
    "xd: \x01\x7f",
    "xe: \u2028 } match=mx.impostor.example {",
    "xf: " + "} { " * 100,
    "xg: policy_string = x } { policy_string = y",
]
LONG = 299  # further names in the long policy


def long_names() -> list[str]:
    return [f"mx{number:03d}.{'a' * 34}.long.example" for number in range(LONG)]


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a message and what Postfix reported."""

    fate: Fate
    event: dict[str, Any]

    @property
    def policy(self) -> dict[str, Any]:
        (found,) = self.event["policies"]
        assert isinstance(found, dict)
        return found


@pytest.fixture(scope="module")
def world(debian_13: Installation, outbound: Callable[..., Outbound]) -> Iterator[Outbound]:
    made = outbound(installation=debian_13, policy_map=POLICY_MAP_TLSRPT, postfix_settings=REPORTING)
    names = ("good", "expired", "long", "hostile", "testing", "nothing", "dane")
    for name in names:
        mx = made.mx(
            f"mx.{name}.example", flaw="expired" if name == "expired" else "", tlsa="own" if name == "dane" else ""
        )
        made.record(f'_smtp._tls.{name}.example. 60 IN TXT "v=TLSRPTv1; rua=mailto:tls@{name}.example"')
        text = policy(mx, f"*.mail.{name}.example")
        if name == "long":
            text = policy(*long_names(), mx)
        elif name == "hostile":
            text = policy(mx, extra=HOSTILE)
        elif name == "testing":
            text = policy(mx, mode="testing")
        impostor = [made.mx("mx.impostor.example")] if name == "hostile" else []
        made.domain(f"{name}.example", *impostor, mx, policy=None if name in ("nothing", "dane") else text)
    with made:
        yield made


@pytest.fixture
def tell(world: Outbound) -> Iterator[Callable[[str], Told]]:
    with TlsrptSocket(world.postfix.queue_directory / "tlsrpt/socket") as socket:

        def send(name: str) -> Told:
            fate = world.postfix.deliver(f"u@{name}.example")
            return Told(fate, socket.wait(f"{name}.example"))

        yield send


def test_postfix_has_understood_the_policy(tell: Callable[[str], Told]) -> None:
    told = tell("good")
    assert told.fate.status == "sent"
    assert told.policy["policy-type"] == 2  # sts
    assert told.policy["policy-domain"] == "good.example"
    assert told.policy["policy-string"] == policy("mx.good.example", "*.mail.good.example").split("\r\n")[:-1]
    assert told.policy["mx-host"] == ["mx.good.example", "*.mail.good.example"]
    assert told.policy["f"] == 0


def test_failure_is_reported_with_the_policy(tell: Callable[[str], Told]) -> None:
    told = tell("expired")
    assert told.fate.status == "deferred"
    assert told.policy["policy-type"] == 2
    assert told.policy["failure-details"][0]["c"] == 204  # certificate-expired


def test_long_policy(tell: Callable[[str], Told], world: Outbound) -> None:
    assert len(world.daemon.ask("long.example", "policy-tlsrpt")) > 50_000
    told = tell("long")
    assert told.fate.status == "sent", told.fate.log
    assert told.fate.tls == {"mx.long.example": "Verified"}
    assert told.policy["mx-host"] == [*long_names(), "mx.long.example"]


def test_hostile_policy_text_injects_nothing(tell: Callable[[str], Told]) -> None:
    told = tell("hostile")
    assert (told.fate.status, told.fate.relay) == ("sent", "mx.hostile.example"), told.fate.log
    assert "'mx.impostor.example' does not match STS MX pattern" in told.fate.log
    assert told.policy["mx-host"] == ["mx.hostile.example"]
    lines = told.policy["policy-string"]
    assert lines[:4] == policy("mx.hostile.example").split("\r\n")[:-1]
    assert set(lines[4:]) <= {line.replace("\t", " ") for line in HOSTILE}


@pytest.mark.parametrize("name", ["testing", "nothing"])
def test_no_policy_is_reported_where_none_is_given(tell: Callable[[str], Told], name: str) -> None:
    told = tell(name)
    assert told.fate.status == "sent"
    assert told.policy["policy-type"] == 9  # no-policy-found


def test_dane_is_reported_as_dane(tell: Callable[[str], Told]) -> None:
    told = tell("dane")
    assert told.fate.status == "sent"
    assert told.policy["policy-type"] == 1  # tlsa


# Answers of `render` alone, as if nothing before it had looked at the policy


@pytest.fixture(scope="module")
def bare(debian_13: Installation, outbound: Callable[..., Outbound]) -> Iterator[Outbound]:
    made = outbound(installation=debian_13, policy_map=POLICY_MAP_TLSRPT, postfix_settings=REPORTING, daemon=False)
    right, impostor = made.mx("mx.a.example"), made.mx("mx.impostor.example")
    made.record('_smtp._tls.a.example. 60 IN TXT "v=TLSRPTv1; rua=mailto:tls@a.example"')
    made.domain("a.example", impostor, right)
    with made:
        yield made


def answered(bare: Outbound, reply: bytes) -> Told:
    with (
        ScriptedSocketmap(bare.postfix.policy_socket, lambda *_: reply) as server,
        TlsrptSocket(bare.postfix.queue_directory / "tlsrpt/socket") as socket,
    ):
        told = Told(bare.postfix.deliver("u@a.example"), socket.wait("a.example"))
        assert set(server.asked) == {("policy-tlsrpt", "a.example")}
        return told


def rendered(lines: tuple[str, ...], mx: tuple[str, ...] = ("mx.a.example",), failure: Failure | None = None) -> bytes:
    fact = StsFact("a.example", Policy(Mode.ENFORCE, mx, 86400, lines), "1", failure=failure)
    return render(Decision("a.example", Level.SECURE, Source.MTA_STS, "sts-enforce", "", fact), tlsrpt=True)


@pytest.mark.parametrize("line", HOSTILE, ids=lambda line: line.partition(":")[0])
def test_no_line_of_a_policy_can_add_an_attribute(bare: Outbound, line: str) -> None:
    told = answered(bare, rendered(("version: STSv1", line, "mode: enforce")))
    assert (told.fate.status, told.fate.relay) == ("sent", "mx.a.example"), told.fate.log
    assert told.policy["mx-host"] == ["mx.a.example"]
    assert told.policy["policy-string"] in (
        ["version: STSv1", "mode: enforce"],
        ["version: STSv1", line.replace("\t", " "), "mode: enforce"],
    )


def test_unwritable_names_are_left_out(bare: Outbound) -> None:
    names = ("mx.a.example", "x match=mx.impostor.example", "mx.impostor.example:", "*.*.example", "}", "hostname")
    told = answered(bare, rendered((), names))
    assert (told.fate.status, told.fate.relay) == ("sent", "mx.a.example"), told.fate.log
    assert told.policy["mx-host"] == ["mx.a.example"]


def test_nothing_usable_makes_every_host_fail(bare: Outbound) -> None:
    told = answered(bare, rendered((), ("hostname",), Failure.INVALID))
    assert told.fate.status == "deferred", told.fate.log
    assert told.policy["failure-details"][0]["c"] == 302  # sts-policy-invalid


def test_the_longest_reply_is_taken(bare: Outbound) -> None:
    many = tuple(f"mx{number:04d}.{'a' * 40}.example" for number in range(600))
    reply = rendered(tuple(f"x: {'y' * 60}" for _ in range(600)), (*many, "mx.a.example"))
    assert MAX_REPLY * 0.7 < len(reply) <= MAX_REPLY
    assert answered(bare, reply).fate.status == "sent"


def test_the_parser_would_take_an_attribute_that_is_not_kept_in(bare: Outbound) -> None:
    """What the other tests guard against is real: the same text without our writer lets the impostor in."""
    lines = b"OK secure servername=hostname policy_type=sts policy_domain=a.example { policy_string = %s }"
    told = answered(
        bare, lines % b"x } match=mx.impostor.example mx_host_pattern=mx.impostor.example { policy_string = y"
    )
    assert (told.fate.status, told.fate.relay) == ("sent", "mx.impostor.example"), told.fate.log


def test_old_postfix_refuses_the_attributes(outbound: Callable[..., Outbound]) -> None:
    """resolver#66: the map `policy-tlsrpt` is not for Postfix 3.9 and older."""
    made = outbound(installation=HOST, policy_map=POLICY_MAP_TLSRPT)
    made.domain("a.example", made.mx("mx.a.example"), policy=policy("mx.a.example"))
    if HOST.version >= (3, 10):
        pytest.skip("this host's Postfix knows the attributes")
    with made:
        fate = made.postfix.deliver("u@a.example")
        assert (fate.status, fate.dsn) == ("deferred", "4.7.5"), fate.log
        assert 'invalid attribute name: "policy_type"' in fate.log
        assert made.hosts.find("u@a.example") == []
