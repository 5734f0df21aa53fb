"""Mail that came through lists and forwarders, and what strangers make look like it, through a real Postfix."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.arc_sealer import seal
from tests.support.dkim_signer import make_key
from tests.support.gate import Gate, Gates
from tests.support.indirect import arc_sealed, results_of, through_list, with_footer
from tests.support.passage import Passage, pass_through, read_results
from tests.support.postfix import PrivatePostfix
from tests.support.senders import ALUMNI, BANK, BROKEN, KEY, LISTS, MALLORY, NEWS, PLAIN, SHOP, Sender, mail, signed

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]

SEALERS = {"trust": {"arc_sealers": [ALUMNI.domain, LISTS.domain]}}
SAW_PASS, SAW_FAIL = results_of(BANK.domain, "pass"), results_of(BANK.domain, "fail", arc="pass")
SAW_BOTH = results_of(BANK.domain, "pass", arc="pass")


def genuine(author: Sender = BANK) -> bytes:
    return author.sign(mail(author.address))


def arrives(gate: Gate, message: bytes, by: Sender, **options: Any) -> Passage:
    """`message` from the host of `by`, with a sender there."""
    return pass_through(gate, message, mail_from=by.address, **{**by.client(), **options})


def arc_of(passage: Passage) -> list[str]:
    return passage.results.get("arc", [])


# a list server's rewritten message


def test_a_list_servers_message_is_held(gates: Gates) -> None:
    passage = arrives(gates(), through_list(genuine(), LISTS), LISTS)
    assert (passage.fate, passage.judged_as) == ("held", [("fail", BANK.domain)])
    assert passage.results["dkim"] == ["pass", "fail"]
    assert "quarantine by mailing-list" in passage.top
    assert "policy.dmarc=reject" in passage.top
    assert "rule=mailing-list" in passage.line
    assert "override=mailing_list" in passage.line


def test_a_list_servers_message_can_be_delivered(gates: Gates) -> None:
    gate = gates(dmarc={"on_mailing_list": "accept"})
    passage = arrives(gate, through_list(genuine(), LISTS), LISTS)
    assert (passage.fate, passage.judged_as) == ("delivered", [("fail", BANK.domain)])
    assert "accept by mailing-list" in passage.top


def test_list_post_is_a_sign_of_a_list_too(gates: Gates) -> None:
    message = through_list(genuine(), LISTS).replace(b"<talk.lists.example>", b"<talk.12345.localhost>")
    assert arrives(gates(), LISTS.sign(message), LISTS).fate == "held"
    unsigned = message.partition(b"List-Id:")
    assert arrives(gates(), MALLORY.sign(b"".join(unsigned[1:])), MALLORY).fate == "refused"


def test_a_list_that_takes_the_from_for_itself_passes(gates: Gates) -> None:
    message = through_list(mail(f'"Someone via Talk" <talk@{LISTS.domain}>'), LISTS)
    passage = arrives(gates(), message, LISTS)
    assert (passage.fate, passage.judged_as) == ("delivered", [("none", LISTS.domain)])


def test_a_list_that_seals_is_believed_if_it_is_trusted(gates: Gates) -> None:
    message = arc_sealed(through_list(genuine(), LISTS), LISTS, SAW_PASS)
    passage = arrives(gates(**SEALERS), message, LISTS)
    assert (passage.fate, passage.judged_as, arc_of(passage)) == ("delivered", [("fail", BANK.domain)], ["pass"])
    assert "accept by arc" in passage.top
    assert arrives(gates(), message, LISTS).fate == "held"


# a .forward


def test_a_forward_keeps_the_signature(gates: Gates) -> None:
    passage = pass_through(gates(), genuine(), mail_from=BANK.address, **ALUMNI.client())
    assert (passage.fate, passage.judged_as) == ("delivered", [("pass", BANK.domain)])


@pytest.mark.parametrize(
    ("forwarder", "client"),
    [
        (f"{ALUMNI.ip}/32", {}),
        ("alumni.example", {}),
        ("helo:alumni.example", {}),
        # the client's address has no name: HELO leads to it all the same
        ("helo:alumni.example", {"client_name": ""}),
        ("dkim:alumni.example", {"client_ip": "198.51.100.99", "client_name": "", "helo": "cloud.example"}),
    ],
)
def test_a_forward_of_unsigned_mail_needs_trust(gates: Gates, forwarder: str, client: dict[str, Any]) -> None:
    """Only SPF would have let it pass, and that ends at the forwarder."""
    message = ALUMNI.sign(mail(BANK.address))
    options = {**ALUMNI.client(), **client}
    assert pass_through(gates(), message, mail_from=BANK.address, **options).fate == "refused"
    passage = pass_through(gates(trust={"forwarders": [forwarder]}), message, mail_from=BANK.address, **options)
    assert (passage.fate, passage.judged_as) == ("delivered", [("fail", BANK.domain)])
    assert "accept by forwarder" in passage.top
    assert "rule=forwarder" in passage.line
    assert "override=trusted_forwarder" in passage.line


@pytest.mark.parametrize("forwarder", ["helo:alumni.example", "dkim:alumni.example", "alumni.example"])
def test_who_only_says_that_he_is_the_forwarder_is_not(gates: Gates, forwarder: str) -> None:
    gate = gates(trust={"forwarders": [forwarder]})
    forged = signed(mail(BANK.address), ALUMNI.domain, replace={"bh": "AAAA"})
    for message in (mail(BANK.address), forged, MALLORY.sign(mail(BANK.address))):
        for mail_from in (MALLORY.address, ""):
            options = {**MALLORY.client(), "helo": ALUMNI.host}
            assert pass_through(gate, message, mail_from=mail_from, **options).fate == "refused"


def test_a_forwarder_that_cannot_be_told_for_the_moment_is_not_refused(gates: Gates) -> None:
    trust = {"forwarders": [f"helo:{BROKEN.domain}"]}
    options = {**MALLORY.client(), "helo": BROKEN.host}
    held = pass_through(gates(trust=trust), mail(BANK.address), mail_from=MALLORY.address, **options)
    assert (held.fate, held.judged_as) == ("held", [("fail", BANK.domain)])
    assert "quarantine by unknown" in held.top
    assert "override=local_policy" in held.line
    gate = gates(trust=trust, dmarc={"on_temperror": "tempfail"})
    deferred = pass_through(gate, mail(BANK.address), mail_from=MALLORY.address, **options)
    assert (deferred.fate, deferred.reply.code) == ("deferred", 451)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory into which every user may look; pytest's own are closed to local(8), which acts as the recipient."""
    with tempfile.TemporaryDirectory(prefix="gatepost-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


class Forward:
    """A Postfix at alumni.example, whose user games has a .forward to wherever the gate delivers."""

    USER = "games"  # an account that every Debian has

    def __init__(self, start: Callable[..., PrivatePostfix], gate: Gate, directory: Path) -> None:
        self._gate = gate
        self._forward = directory / f"{self.USER}.forward"
        self.postfix = start(
            domains=(ALUMNI.domain,),
            settings={
                "myhostname": ALUMNI.host,
                "virtual_mailbox_domains": "",
                "mydestination": ALUMNI.domain,
                "local_transport": "local",
                "mailbox_transport": "error:the .forward was not found",
                "forward_path": f"{directory}/$user.forward",
                "default_transport": f"smtp:[127.0.0.1]:{gate.postfix.ports['smtp']}",
            },
            services=("local unix - n n - - local", "smtp unix - - n - - smtp"),
        )

    def send(self, message: bytes, **options: Any) -> tuple[str, str]:
        """Send `message` to the user: where it is to end, and what the gate said, as Postfix logs it."""
        rcpt = self._gate.postfix.new_rcpt()
        self._forward.write_text(f"{rcpt}\n")
        exchange = self.postfix.send(message, rcpts=[f"{self.USER}@{ALUMNI.domain}"], raw=True, **options)
        assert exchange.accepted, exchange
        found = self.postfix.log.wait(rf"to=<{re.escape(rcpt)}>, .* status=(\w+) \((.*)\)")
        return rcpt, f"{found[1]} {found[2]}"


def test_a_real_forward_keeps_the_signature(
    gates: Gates, postfix_factory: Callable[..., PrivatePostfix], open_directory: Path
) -> None:
    gate = gates(trust={"networks": []})  # the forwarder is on loopback, as everything here
    forward = Forward(postfix_factory, gate, open_directory)
    rcpt, said = forward.send(genuine(), mail_from=BANK.address, **BANK.client())
    assert said.startswith("sent "), said
    (delivered,) = gate.postfix.wait_delivered(rcpt)
    assert delivered.all("Delivered-To")[-1].strip() == f"{Forward.USER}@{ALUMNI.domain}"
    results = read_results(delivered.all("Authentication-Results")[0])
    assert [result for method, result, _ in results if method in ("dkim", "dmarc")] == ["pass", "pass"]


def test_a_real_forward_of_unsigned_mail_needs_trust(
    gates: Gates, postfix_factory: Callable[..., PrivatePostfix], open_directory: Path
) -> None:
    sent = {"message": mail(BANK.address), "mail_from": BANK.address, **BANK.client()}
    refusing = gates(trust={"networks": []})
    _, said = Forward(postfix_factory, refusing, open_directory).send(**sent)
    assert said.startswith("bounced "), said
    assert "550 5.7.26 DMARC: mail with a From address in bank.example" in said
    trusting = gates(trust={"networks": [], "forwarders": ["127.0.0.1/32"]})
    rcpt, said = Forward(postfix_factory, trusting, open_directory).send(**sent)
    assert said.startswith("sent "), said
    (delivered,) = trusting.postfix.wait_delivered(rcpt)
    assert "accept by forwarder" in delivered.all("Authentication-Results")[0].replace("\n\t", " ")


# ARC


@pytest.mark.parametrize(("author", "fate"), [(BANK, "refused"), (SHOP, "held")])
def test_a_forwarder_that_changes_the_body_and_seals(gates: Gates, author: Sender, fate: str) -> None:
    message = arc_sealed(with_footer(genuine(author)), ALUMNI, results_of(author.domain, "pass"))
    passage = arrives(gates(**SEALERS), message, ALUMNI)
    assert (passage.fate, passage.judged_as, arc_of(passage)) == ("delivered", [("fail", author.domain)], ["pass"])
    assert passage.results["dkim"] == ["fail"]
    assert "accept by arc" in passage.top
    assert f"policy.dmarc={author.policy}" in passage.top
    assert "decision=accept rule=arc" in passage.line
    assert "override=local_policy" in passage.line
    assert "arc=pass as[1].d=alumni.example as[1].s=s1" in passage.line
    # without the setting ARC is shown and changes nothing
    unset = arrives(gates(), message, ALUMNI)
    assert unset.fate == fate
    assert fate == "refused" or arc_of(unset) == ["pass"]


def test_two_trusted_sealers_one_after_the_other(gates: Gates) -> None:
    listed = arc_sealed(through_list(genuine(), LISTS), LISTS, SAW_PASS)
    passage = arrives(gates(**SEALERS), arc_sealed(with_footer(listed), ALUMNI, SAW_FAIL), ALUMNI)
    assert (passage.fate, arc_of(passage)) == ("delivered", ["pass"])
    assert "as[2].d=alumni.example as[2].s=s1 as[1].d=lists.example as[1].s=s1" in passage.line


def test_a_policy_of_none_is_left_as_it_is(gates: Gates) -> None:
    message = arc_sealed(with_footer(genuine(NEWS)), ALUMNI, results_of(NEWS.domain, "pass"))
    passage = arrives(gates(**SEALERS), message, ALUMNI)
    assert (passage.fate, passage.judged_as) == ("delivered", [("fail", NEWS.domain)])
    assert "rule=policy-none" in passage.line
    assert "override" not in passage.line


def refused_sets() -> dict[str, bytes]:
    """What strangers can make of seals."""
    listed = arc_sealed(with_footer(genuine()), LISTS, SAW_PASS)
    spoof = mail(BANK.address)
    return {
        "a stranger's seal": arc_sealed(spoof, MALLORY, SAW_PASS),
        "a stranger's seal on top of a trusted one": arc_sealed(listed, MALLORY, SAW_BOTH),
        # dkimpy's cv=pass is what the results say, true or not
        "a trusted seal, then another body, then a stranger's seal": arc_sealed(
            listed.replace(b"Hello", b"Pay me"), MALLORY, SAW_BOTH
        ),
        "a stranger's seal that a trusted forwarder sealed": arc_sealed(
            arc_sealed(spoof, MALLORY, SAW_PASS), ALUMNI, SAW_FAIL
        ),
        "a trusted list, a stranger, a trusted forwarder": arc_sealed(
            arc_sealed(listed.replace(b"Hello", b"Pay me"), MALLORY, SAW_BOTH),
            ALUMNI,
            SAW_FAIL,
        ),
        "a trusted sealer that saw it fail": arc_sealed(spoof, ALUMNI, results_of(BANK.domain, "fail")),
        "a trusted sealer that saw another From": arc_sealed(spoof, ALUMNI, results_of(MALLORY.domain, "pass")),
    }


@pytest.mark.parametrize("name", sorted(refused_sets()))
def test_seals_that_are_valid_and_no_evidence(gates: Gates, name: str) -> None:
    passage = arrives(gates(**SEALERS), refused_sets()[name], MALLORY)
    assert (passage.fate, passage.reply.enhanced) == ("refused", "5.7.26"), name
    assert " arc=pass:" in passage.line
    assert "rule=policy" in passage.line


def broken_sets() -> dict[str, bytes]:
    """Seals that do not hold."""
    sealed = arc_sealed(with_footer(genuine()), ALUMNI, SAW_PASS)
    other = seal(mail(BANK.address), ALUMNI.domain, "s1", make_key(serial=1), results=f"{ALUMNI.host}; {SAW_PASS}")
    return {
        "signed with another key": other,
        "the body of another message": sealed.replace(b"Hello", b"Pay me"),
        "another From": sealed.replace(b"From: someone@bank.example", b"From: boss@bank.example"),
        "other results": sealed.replace(b"i=1; mail.alumni.example;", b"i=1; mail.alumni.example; auth=pass;"),
        "a second subject": b"Subject: Pay me\r\n" + sealed,
        "text behind the part that is signed": seal(
            mail(BANK.address), ALUMNI.domain, "s1", KEY, results=f"{ALUMNI.host}; {SAW_PASS}", length=5
        )
        + b"Pay me\r\n",
        "a set is missing": arc_sealed(sealed, ALUMNI, SAW_FAIL).replace(b"i=1;", b"i=3;"),
    }


@pytest.mark.parametrize("name", sorted(broken_sets()))
def test_forged_seals(gates: Gates, name: str) -> None:
    message = broken_sets()[name]
    passage = arrives(gates(**SEALERS), message, MALLORY)
    assert (passage.fate, passage.reply.enhanced) == ("refused", "5.7.26"), name
    assert " arc=fail:" in passage.line or ' arc="fail:' in passage.line


def test_a_sealer_that_cannot_be_looked_up_for_the_moment_is_not_refused(gates: Gates) -> None:
    gate = gates(trust={"arc_sealers": [BROKEN.domain]})
    passage = arrives(gate, arc_sealed(with_footer(genuine()), BROKEN, SAW_PASS), ALUMNI)
    assert (passage.fate, passage.judged_as, arc_of(passage)) == ("held", [("fail", BANK.domain)], ["fail"])
    assert "quarantine by unknown" in passage.top
    # whose own DNS is broken, and is not trusted, gets nothing by it
    assert arrives(gates(**SEALERS), arc_sealed(mail(BANK.address), BROKEN, SAW_PASS), MALLORY).fate == "refused"


def test_a_second_from_field_gets_nothing_from_a_seal(gates: Gates) -> None:
    message = arc_sealed(with_footer(genuine()), ALUMNI, SAW_PASS)
    passage = arrives(gates(**SEALERS), b"From: boss@bank.example\r\n" + message, MALLORY)
    assert (passage.fate, passage.reply.enhanced) == ("refused", "5.7.1")
    assert "rule=bad-from" in passage.line


def test_mail_without_a_policy_passes_as_before(gates: Gates) -> None:
    passage = arrives(gates(**SEALERS), arc_sealed(mail(PLAIN.address), MALLORY, "none"), MALLORY)
    assert (passage.fate, passage.judged_as, arc_of(passage)) == ("delivered", [("none", PLAIN.domain)], ["pass"])
