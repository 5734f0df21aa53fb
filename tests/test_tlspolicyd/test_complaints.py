"""What users of other programs of this kind complain of, and which tests prove that it does not happen here."""

from __future__ import annotations

import pytest

from tests.support.proofs import gone

# complaint -> what it is, and "file::test"
COMPLAINTS: dict[int, tuple[str, ...]] = {
    1: (
        "MTA-STS overrides DANE",
        "test_decide.py::test_pfx_40_pfx_41_table",
        "test_decide.py::test_what_holds_for_any_facts_pfx_39_pfx_40_pfx_41",
        "test_dane_lookup.py::test_pfx_40_signed_domain",
        "tests/postfix/test_outbound_dane.py::test_tlsa_does_not_match_where_pkix_would",
        "tests/postfix/test_outbound_dane.py::test_mta_sts_is_never_put_over_a_host_whose_tlsa_look_up_is_bogus",
    ),
    2: (
        "one look-up that fails stops the mail of a domain",
        "test_decide.py::test_one_broken_host_does_not_stop_the_others_pfx_40",
        "test_dane_lookup.py::test_complaint_2_one_failing_tlsa_lookup_is_one_host",
        "test_dane_lookup.py::test_complaint_2_one_broken_address_family",
        "test_dane_lookup.py::test_complaint_2_host_whose_delegation_is_broken",
        "test_policies.py::test_complaint_2_a_failing_txt_look_up_with_nothing_cached_is_no_policy",
        "tests/postfix/test_outbound_dane.py::test_one_host_with_a_bogus_tlsa_look_up_stops_only_itself",
        "tests/postfix/test_outbound_dane.py::test_one_broken_address_family_does_not_stop_mail",
        "tests/postfix/test_outbound_dane.py::test_broken_mta_sts_record_does_not_stop_mail",
        "test_service_dns_faults.py::test_no_fault_stops_mail_or_weakens_what_is_known",
    ),
    3: (
        "dane-only where the MX records are not signed; a signed host of an unsigned domain surprises",
        "test_dane_lookup.py::test_complaint_3_dane_only_where_the_mx_set_is_not_signed",
        "test_explain.py::test_complaint_3_signed_host_of_an_unsigned_domain_is_explained",
    ),
    4: (
        "a policy that was changed is not seen until the old one expires",
        "test_policies.py::test_complaint_4_a_changed_policy_is_seen_long_before_expiry",
        "test_policies.py::test_complaint_4_a_policy_changed_without_its_id_is_seen_within_a_day",
        "test_policies.py::test_complaint_4_a_policy_that_fits_no_mx_is_looked_at_once",
        "test_mx_watch.py::test_complaint_4_a_policy_that_allows_none_of_the_mx_hosts_is_suspected",
        "test_service_mx.py::test_complaint_4_the_daemon_looks_for_a_newer_policy",
        "tests/postfix/test_outbound_mx.py::test_complaint_4_mail_that_moved_to_another_host_is_delivered",
        "tests/postfix/test_outbound_mta_sts.py::test_a_new_policy_is_seen",
    ),
    5: (
        "older Postfix refuses attributes that it does not know",
        "test_render.py::test_pfx_34_enforce",
        "tests/postfix/test_outbound_attributes.py::test_old_postfix_refuses_the_attributes",
        "tests/postfix/test_outbound_mta_sts.py::test_delivered_to_the_right_mx_over_verified_tls",
    ),
    6: (
        "the attributes for TLS reports are missing",
        "test_render.py::test_pfx_35_attributes_of_postfix_3_10",
        "tests/postfix/test_outbound_attributes.py::test_postfix_has_understood_the_policy",
    ),
    7: (
        "the query tool does not say what it means",
        "test_explain.py::test_complaint_7_key_without_policy",
        "test_explain.py::test_complaint_7_something_with_a_domain_in_it",
        "test_explain.py::test_mx_hosts_are_shown_with_dane_off",
        "test_explain.py::test_text_says_everything",
        "test_cli.py::test_query_for_what_has_no_policy",
        "test_cli.py::test_query_for_people",
    ),
    8: (
        "the MX name is not compared with the policy, only the certificate is",
        "test_explain.py::test_policy_that_allows_no_host",
        "test_render.py::test_pfx_37_patterns_that_are_no_names_are_left_out",
        "tests/postfix/test_outbound_mta_sts.py::test_mx_host_that_the_policy_does_not_name",
        "tests/postfix/test_outbound_mta_sts.py::test_certificate_for_the_policy_name_at_another_mx_host",
    ),
    9: (
        "Postfix and the daemon use different name servers",
        "test_service.py::test_reload_changes_the_name_server",
        "test_service.py::test_the_log_says_whether_the_resolver_validates",
        "tests/postfix/test_outbound_daemon.py::test_the_daemon_knows_that_the_resolver_validates",
    ),
}
ELSEWHERE = {10: "TLS reports: the reporter"}


def test_no_complaint_is_left_out() -> None:
    assert sorted([*COMPLAINTS, *ELSEWHERE]) == list(range(1, 11))


@pytest.mark.parametrize("number", COMPLAINTS)
def test_each_complaint_has_tests(number: int) -> None:
    _, *proofs = COMPLAINTS[number]
    assert proofs
    assert gone(proofs, "test_tlspolicyd") == []
