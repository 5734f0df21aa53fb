"""Mail that came through lists and forwarders, and what strangers make look like it, through a real Postfix."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.arc_sealer import seal
from tests.support.dkim_signer import make_key
from tests.support.gate import Gate, Gates
from tests.support.indirect import arc_sealed, results_of, through_list, with_footer
from tests.support.passage import Passage, pass_through
from tests.support.senders import ALUMNI, BANK, BROKEN, LISTS, MALLORY, NEWS, PLAIN, SHOP, Sender, mail, signed

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
