"""A domain whose mail moved to another host, whose policy changed with it and kept its id: through a real Postfix."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.outbound import Outbound, policy
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]


@pytest.mark.parametrize("dane", [True, False], ids=["DANE on", "DANE off"])
def test_complaint_4_mail_that_moved_to_another_host_is_delivered(
    outbound: Callable[..., Outbound], dane: bool
) -> None:
    world = outbound(settings={"dane": {"enabled": dane}})
    world.mx("new.a.example")
    world.domain("a.example", world.mx("mx.a.example"), policy=policy("mx.a.example"))
    with world:
        assert world.postfix.deliver("u@a.example").status == "sent"
        world.replace_record("a.example. 60 IN MX 10 new.a.example.")
        world.policy_host.add("a.example", policy("new.a.example"))
        world.daemon.wait_kept("a.example")
        # what the daemon knows of the world is kept in its store; what it knew of the MX records has gone
        world.daemon.restart()
        fate = world.postfix.deliver("u@a.example")
        if fate.status != "sent":  # this answer was at hand; a newer policy is looked for beside it
            wait_until(lambda: "match=new.a.example" in world.daemon.ask("a.example"), "the new policy")
            fate = world.postfix.deliver("u@a.example")
        assert fate.status == "sent", fate.log
        assert fate.tls == {"new.a.example": "Verified"}
        world.daemon.log.wait("the policy held allows no MX host")
