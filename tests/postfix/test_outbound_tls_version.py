"""TLS 1.2 is the least where a policy asks for TLS (RFC 8461 §7.1): by the lines of conf/main.cf.tlspolicyd.

No answer of the daemon's says so, or a site that asks for TLS 1.3 would get less than it asked for.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest

from tests.support.outbound import Outbound, policy
from tests.support.proofs import ROOT

pytestmark = [pytest.mark.postfix, pytest.mark.unbound, pytest.mark.filterwarnings("ignore:ssl.TLSVersion")]

OLD = {"tls_medium_cipherlist": "AES128-SHA:@SECLEVEL=0"}
KEY = "smtp_tls_mandatory_protocols"


def lines_for_postfix() -> dict[str, str]:
    """The settings in conf/main.cf.tlspolicyd."""
    text = (ROOT / "conf/main.cf.tlspolicyd").read_text(encoding="utf-8")
    found = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in found}


@pytest.mark.parametrize(
    ("protocols", "status"), [(">=TLSv1.1", "sent"), (lines_for_postfix()[KEY], "deferred")], ids=["older", "ours"]
)
def test_sts_28_an_mx_host_with_tls_1_1_gets_no_mail(
    outbound: Callable[..., Outbound], protocols: str, status: str
) -> None:
    world = outbound(postfix_settings={**OLD, KEY: protocols})
    for name, mode in (("strict.example", "enforce"), ("lenient.example", "testing")):
        world.domain(name, world.mx(f"mx.{name}", flaw="weak-key"), policy=policy(f"mx.{name}", mode=mode))
    with world:
        for host in world.hosts.hosts.values():
            host.newest = ssl.TLSVersion.TLSv1_1
        fate = world.postfix.deliver("u@strict.example")
        assert fate.status == status, fate.log
        assert [mail.tls for mail in world.hosts.find("u@strict.example")] == ["TLSv1.1"] * (status == "sent")
        assert world.postfix.deliver("u@lenient.example").status == "sent"


def test_sts_28_the_readme_names_the_line_too() -> None:
    assert f"'{KEY} = {lines_for_postfix()[KEY]}'" in (ROOT / "README.md").read_text(encoding="utf-8")
