"""What becomes of a message at the inbound gate, by what its author's domain asks for and by our settings."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.gate import Gate, Gates
from tests.support.passage import Passage, pass_through
from tests.support.senders import (
    ALUMNI,
    BANK,
    BROKEN,
    LISTS,
    MALLORY,
    NAMELESS,
    NEWS,
    PLAIN,
    SHOP,
    WRONG,
    Sender,
    mail,
)

pytestmark = [pytest.mark.postfix, pytest.mark.unbound]


def spoof(gate: Gate, victim: Sender, author: str = "", **options: Any) -> Passage:
    """A message in the victim's name from a stranger's host, where the stranger's SPF and DKIM pass."""
    message = MALLORY.sign(mail(author or victim.address))
    return pass_through(gate, message, mail_from=MALLORY.address, **{**MALLORY.client(), **options})


def test_genuine_mail_is_delivered_with_results_on_top(gates: Gates) -> None:
    passage = pass_through(gates(), BANK.sign(mail(BANK.address)), mail_from=BANK.address, **BANK.client())
    assert passage.fate == "delivered"
    assert passage.top.startswith(" mx.home.example;\n\t")
    assert passage.entries == [
        ("iprev", "pass", {"policy.iprev": "192.0.2.10"}),
        ("spf", "pass", {"smtp.helo": "mail.bank.example"}),
        ("spf", "pass", {"smtp.mailfrom": "someone@bank.example"}),
        ("dkim", "pass", passage.properties("dkim")),
        ("arc", "none", {"smtp.remote-ip": "192.0.2.10"}),
        ("dmarc", "pass", {"header.from": "bank.example", "policy.dmarc": "reject"}),
    ]
    assert passage.properties("dkim").items() >= {"header.d": "bank.example", "header.s": "s1"}.items()
    assert passage.fields[2][0] == "DKIM-Signature"
    for word in (
        f"{passage.exchange.queue_id}:",
        "decision=accept rule=pass client=192.0.2.10",
        "dkim=bank.example:pass arc=none dmarc=bank.example:pass",
        " ms=",
    ):
        assert word in passage.line


def test_spoof_of_a_reject_domain_is_refused(gates: Gates) -> None:
    gate = gates()
    passage = spoof(gate, BANK)
    assert (passage.fate, passage.reply.code, passage.reply.enhanced) == ("refused", 550, "5.7.26")
    assert passage.reply.text.startswith("5.7.26 DMARC: mail with a From address in bank.example must be authenticated")
    assert gate.postfix.mailbox.messages(passage.rcpt) == []
    assert [item for item in gate.postfix.queue() if item["sender"] == MALLORY.address] == []
    found = gate.postfix.log.wait(r"(\w+): milter-reject: END-OF-MESSAGE .*: 5\.7\.26 DMARC: .* bank\.example.*")
    assert re.search(rf" {found[1]}: decision=reject rule=policy ", passage.line)
    assert "policy=reject" in passage.line


def test_spoof_of_a_quarantine_domain_is_held_until_released(gates: Gates) -> None:
    gate = gates()
    passage = spoof(gate, SHOP)
    queue_id = passage.exchange.queue_id
    assert (passage.fate, passage.reply.code) == ("held", 250)
    assert gate.postfix.queue_of(queue_id) == "hold"
    assert gate.postfix.mailbox.messages(passage.rcpt) == []
    logged = gate.postfix.log.wait(rf"{queue_id}: milter-hold: END-OF-MESSAGE .*: milter triggers HOLD action; .*")[0]
    assert len(logged) < 400
    assert passage.judged_as == [("fail", "shop.example")]
    gate.postfix.release(queue_id)
    (delivered,) = gate.postfix.wait_delivered(passage.rcpt)
    # Postfix of Debian 12 does not log the reason of a quarantine: the field says it
    assert "(p=quarantine, quarantine by policy)" in delivered.all("Authentication-Results")[0]
    assert delivered.fields[0] == ("Authentication-Results", passage.top)


def test_quarantine_can_be_accept_and_mark(gates: Gates) -> None:
    passage = spoof(gates(dmarc={"on_quarantine": "accept"}), SHOP)
    assert (passage.fate, passage.judged_as) == ("delivered", [("fail", "shop.example")])
    assert "accept by policy" in passage.top


def test_quarantine_can_be_a_refusal(gates: Gates) -> None:
    passage = spoof(gates(dmarc={"on_quarantine": "reject"}), SHOP)
    assert (passage.fate, passage.reply.enhanced) == ("refused", "5.7.26")
    assert "(its policy: quarantine)" in passage.reply.text


def test_reject_can_be_a_quarantine(gates: Gates) -> None:
    passage = spoof(gates(dmarc={"on_reject": "quarantine"}), BANK)
    assert (passage.fate, passage.judged_as) == ("held", [("fail", "bank.example")])


@pytest.mark.parametrize(("victim", "result"), [(NEWS, "fail"), (PLAIN, "none")])
def test_domains_that_ask_for_nothing_get_nothing(gates: Gates, victim: Sender, result: str) -> None:
    passage = spoof(gates(), victim)
    assert (passage.fate, passage.judged_as) == ("delivered", [(result, victim.domain)])


def test_dns_failure_is_accepted_and_marked(gates: Gates) -> None:
    passage = spoof(gates(), BROKEN)
    assert (passage.fate, passage.judged_as) == ("delivered", [("temperror", "broken.example")])
    assert "accept by temperror" in passage.top


def test_dns_failure_can_be_a_deferral(gates: Gates) -> None:
    gate = gates(dmarc={"on_temperror": "tempfail"})
    passage = spoof(gate, BROKEN)
    assert (passage.fate, passage.reply.code, passage.reply.enhanced) == ("deferred", 451, "4.7.1")
    assert "broken.example" in passage.reply.text
    by_spf = pass_through(gate, mail(BROKEN.address), mail_from=BROKEN.address, **MALLORY.client())
    assert (by_spf.reply.code, by_spf.reply.enhanced) == (451, "4.7.24")
    assert gate.postfix.mailbox.messages(passage.rcpt) == []


def test_dns_failure_of_a_strangers_domain_does_not_spare_a_spoof(gates: Gates) -> None:
    """Who breaks the DNS of a domain of his own must not turn a refusal into an acceptance."""
    message = BROKEN.sign(mail(BANK.address))
    passage = pass_through(gates(), message, mail_from=BROKEN.address, **MALLORY.client())
    assert (passage.fate, passage.reply.enhanced) == ("refused", "5.7.26")


def test_forwarded_mail_passes_by_its_signature(gates: Gates) -> None:
    passage = pass_through(gates(), BANK.sign(mail(BANK.address)), mail_from=BANK.address, **ALUMNI.client())
    assert passage.fate == "delivered"
    assert passage.results["spf"] == ["pass", "fail"]
    assert (passage.results["dkim"], passage.judged_as) == (["pass"], [("pass", "bank.example")])


@pytest.mark.parametrize(("victim", "fate"), [(BANK, "held"), (SHOP, "delivered"), (NEWS, "delivered")])
def test_other_rules_for_one_domain(gates: Gates, victim: Sender, fate: str) -> None:
    gate = gates(dmarc={"domains": {BANK.domain: {"on_reject": "quarantine"}, "example": {"on_quarantine": "accept"}}})
    assert spoof(gate, victim).fate == fate


def test_dry_run_says_what_it_would_do_and_does_nothing(gates: Gates) -> None:
    gate = gates(dmarc={"dry_run": True})
    refused, held = spoof(gate, BANK), spoof(gate, SHOP)
    assert (refused.fate, held.fate) == ("delivered", "delivered")
    assert refused.judged_as == [("fail", "bank.example")]
    assert "dry run, would be reject: policy" in refused.top
    assert "decision=accept would_be=quarantine rule=policy" in held.line


def test_trusted_network_is_not_judged_but_forged_results_go(gates: Gates) -> None:
    gate = gates(trust={"networks": [f"{MALLORY.ip}/32", "2001:db8:66::/48"]})
    forged = mail(BANK.address, extra="Authentication-Results: mx.home.example; dmarc=pass header.from=bank.example\n")
    for ip in (MALLORY.ip, "2001:db8:66::1"):
        passage = pass_through(gate, forged, mail_from=MALLORY.address, **MALLORY.client(ip))
        assert (passage.fate, passage.all("Authentication-Results")) == ("delivered", [])
        assert "rule=own" in passage.line
    assert pass_through(gate, forged, mail_from=MALLORY.address, **MALLORY.client("203.0.113.67")).fate == "refused"


@pytest.mark.parametrize("forwarder", ["198.51.100.0/28", "alumni.example"])
def test_trusted_forwarder_overrides_the_policy(gates: Gates, forwarder: str) -> None:
    gate = gates(trust={"forwarders": [forwarder]})
    passage = pass_through(gate, mail(BANK.address), mail_from=BANK.address, **ALUMNI.client())
    assert (passage.fate, passage.judged_as) == ("delivered", [("fail", "bank.example")])
    assert "accept by forwarder" in passage.top
    assert "rule=forwarder" in passage.line
    assert "override=trusted_forwarder" in passage.line
    assert spoof(gate, BANK).fate == "refused"


def test_claimed_forwarder_name_does_not_count(gates: Gates) -> None:
    gate = gates(trust={"forwarders": ["alumni.example"]})
    assert spoof(gate, BANK, helo=ALUMNI.host).fate == "refused"


def test_mailing_list_softens_a_refusal_to_a_hold(gates: Gates) -> None:
    gate = gates()
    extra = "List-Id: Talk <talk.lists.example>\nList-Post: <mailto:talk@lists.example>\n"
    changed = LISTS.sign(mail(BANK.address, subject="[talk] Greetings", extra=extra))
    passage = pass_through(gate, changed, mail_from=LISTS.address, **LISTS.client())
    assert (passage.fate, passage.judged_as) == ("held", [("fail", "bank.example")])
    assert "quarantine by mailing-list" in passage.top
    assert "override=mailing_list" in passage.line
    # anybody can write List-Id
    stranger = MALLORY.sign(mail(BANK.address, extra=extra))
    assert pass_through(gate, stranger, mail_from=MALLORY.address, **MALLORY.client()).fate == "refused"


def test_null_sender_is_checked_by_helo(gates: Gates) -> None:
    # bank.example does not sign here: what passes is SPF of postmaster@mail.bank.example, aligned in relaxed mode
    passage = pass_through(gates(), mail(BANK.address), mail_from="", **BANK.client())
    assert passage.fate == "delivered"
    assert [(m, r, p) for m, r, p in passage.entries if m == "spf"] == [
        ("spf", "pass", {"smtp.mailfrom": "postmaster@mail.bank.example"})
    ]
    assert passage.judged_as == [("pass", "bank.example")]
    stolen = pass_through(gates(), mail(BANK.address), mail_from="", **{**BANK.client(), "client_ip": MALLORY.ip})
    assert (stolen.fate, stolen.reply.enhanced) == ("refused", "5.7.26")


def test_helo_pass_is_not_taken_for_mail_from(gates: Gates) -> None:
    """CVE-2019-20790: the host name of the spoofed domain authenticates nothing for DMARC."""
    passage = pass_through(
        gates(dmarc={"on_reject": "accept"}), mail(BANK.address), mail_from=MALLORY.address, **BANK.client()
    )
    assert (passage.results["spf"], passage.judged_as) == (["pass", "fail"], [("fail", "bank.example")])


def test_ipv6_client(gates: Gates) -> None:
    passage = pass_through(gates(), mail(BANK.address), mail_from=BANK.address, **BANK.client(BANK.ip6))
    assert passage.properties("iprev") == {"policy.iprev": BANK.ip6}
    assert passage.judged_as == [("pass", "bank.example")]
    assert "ip6:2001:db8:10::25" in passage.top
    other = pass_through(gates(), mail(BANK.address), mail_from=BANK.address, **BANK.client("2001:db8:10::26"))
    assert other.fate == "refused"


def test_client_without_a_name(gates: Gates) -> None:
    passage = pass_through(gates(), mail(NAMELESS.address), mail_from=NAMELESS.address, **NAMELESS.client())
    assert (passage.results["iprev"], passage.properties("iprev")) == (["permerror"], {"policy.iprev": NAMELESS.ip})
    assert "name=" not in passage.line


def test_client_whose_name_does_not_lead_back(gates: Gates) -> None:
    passage = pass_through(gates(), mail(WRONG.address), mail_from=WRONG.address, **WRONG.client())
    assert passage.results["iprev"] == ["fail"]


def test_client_name_that_postfix_did_not_look_up(gates: Gates) -> None:
    passage = pass_through(gates(), mail(BANK.address), mail_from=BANK.address, **{**BANK.client(), "client_name": ""})
    assert passage.results["iprev"] == ["pass"]


def test_two_author_domains_get_a_result_each_and_the_strictest_counts(gates: Gates) -> None:
    two = f"{MALLORY.address}, {NEWS.address}"
    passage = spoof(gates(), NEWS, two)
    assert passage.judged_as == [("pass", "mallory.example"), ("fail", "news.example")]
    assert passage.fate == "delivered"
    assert spoof(gates(), BANK, f"{MALLORY.address}, {BANK.address}").fate == "refused"


def test_received_spf_on_request(gates: Gates) -> None:
    message = mail(BANK.address, extra="Received-SPF: pass\n")
    passage = pass_through(gates(spf={"received_spf": True}), message, mail_from=BANK.address, **BANK.client())
    assert [name for name, _ in passage.fields[:3]] == ["Authentication-Results", "Received-SPF", "Received"]
    assert passage.fields[1][1].startswith(" pass\n\t(mx.home.example: bank.example designates")
    assert passage.all("Received-SPF")[1:] == [" pass"]  # what others wrote is neither read nor removed


def test_percent_signs_in_a_refusal_come_through_as_they_are(gates: Gates) -> None:
    """In the milter protocol the text of a reply is a format, in which "%" has to be doubled."""
    passage = spoof(gates(), BANK, "100%n of %s %% %")
    assert passage.reply.text == ('5.7.1 The From header field cannot be accepted: "100%n of %s %% %" is no address')


def test_several_signatures_are_all_reported(gates: Gates) -> None:
    message = BANK.sign(mail(BANK.address), canonicalization="simple/simple")
    message = MALLORY.sign(message, replace={"bh": "AAAA"})
    passage = pass_through(gates(), message, mail_from=BANK.address, **ALUMNI.client())
    found = [(result, properties["header.d"]) for method, result, properties in passage.entries if method == "dkim"]
    assert sorted(found) == [("fail", "mallory.example"), ("pass", "bank.example")]
