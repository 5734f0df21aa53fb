"""The world around the outbound gate does what its descriptions say: faults are faults, and only where wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from tests.support import signed_zone
from tests.support.loopback import Network
from tests.support.mx_host import MxHosts, StartTls
from tests.support.postfix_installation import debian_tree
from tests.support.processes import Unavailable, find_program
from tests.support.requirements import require
from tests.support.signed_zone import SignedUnbound
from tests.support.smtp_client import SmtpSession

DOMAINS = ("good", "signed", "unsigned", "bogus", "expired", "failing", "tampered")
ZONE = "".join(
    f"{name}.example. 60 IN MX 10 mx.{name}.example.\nmx.{name}.example. 60 IN A 192.0.2.1\n" for name in DOMAINS
)


@pytest.mark.unbound
def test_signed_tree() -> None:
    require(signed_zone.missing())

    def answer(name: str, rdtype: str) -> str:
        query = dns.message.make_query(name, rdtype)
        query.flags |= dns.flags.AD
        reply = dns.query.udp(query, "127.0.0.1", port=tree.port, timeout=5)
        return dns.rcode.to_text(reply.rcode()) + (" AD" if reply.flags & dns.flags.AD else "")

    tree = SignedUnbound(
        ZONE,
        tampered=[("mx.tampered.example", "A")],
        **{name: [f"{name}.example"] for name in DOMAINS[1:-1]},  # type: ignore[arg-type]
    )
    with tree:
        found = {name: answer(f"{name}.example", "MX") for name in DOMAINS}
        assert found == {
            "good": "NOERROR AD",
            "signed": "NOERROR AD",
            "unsigned": "NOERROR",
            "bogus": "SERVFAIL",
            "expired": "SERVFAIL",
            "failing": "SERVFAIL",
            "tampered": "NOERROR AD",
        }
        assert answer("mx.tampered.example", "A") == "SERVFAIL"
        assert answer("_25._tcp.mx.good.example", "TLSA") == "NXDOMAIN AD"
        tree.tampered = [("good.example", "MX")]
        tree.reload(ZONE)
        assert answer("mx.tampered.example", "A") == "NOERROR AD"
        assert answer("good.example", "MX") == "SERVFAIL"


def test_two_networks_have_no_address_in_common() -> None:
    try:
        first, second = Network(), Network()
    except Unavailable as problem:
        require(str(problem))
        raise
    assert first.address().rpartition(".")[0] != second.address().rpartition(".")[0]
    first.release()
    second.release()


def test_mx_host_without_starttls_does_not_offer_it(loopback: Callable[[], Network]) -> None:
    address = loopback().address()
    with MxHosts() as hosts:
        host = hosts.add("mx.a.example", address, starttls=StartTls.NONE)
        for kind, offered in ((StartTls.NONE, False), (StartTls.REFUSED, True), (StartTls.BROKEN, True)):
            host.starttls = kind
            with SmtpSession(25, address) as session:
                session.ehlo("client.example")
                assert ("STARTTLS" in session.features) is offered
        assert host.connections == 3


def test_says_why_there_is_no_other_postfix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        find_program("debootstrap", "debootstrap")
    except Unavailable as problem:
        require(str(problem))
    monkeypatch.setenv("GATEPOST_DEBIAN_TREE", str(tmp_path / "tree"))
    monkeypatch.setenv("GATEPOST_DEBIAN_MIRROR", "http://127.0.0.1:1/debian")
    with pytest.raises(Unavailable, match=r"debootstrap of Debian trixie failed: .*127\.0\.0\.1:1/debian"):
        debian_tree()
    assert not (tmp_path / "tree").exists()
