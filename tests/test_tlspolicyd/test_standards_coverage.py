"""Which tests prove each rule of MTA-STS for a sender (STS) and of Postfix's policy maps (PFX).

The rules are those of the checklist of standards. A rule without a test, and a test that has gone, is noticed.
"""

from __future__ import annotations

import pytest

from tests.support.proofs import gone

MTA_STS = "tests/postfix/test_outbound_mta_sts.py::"
DANE = "tests/postfix/test_outbound_dane.py::"
ATTRIBUTES = "tests/postfix/test_outbound_attributes.py::"

# rule -> what it says, and "file::test"
STS: dict[int, tuple[str, ...]] = {
    1: (
        "the TXT record and its grammar",
        "test_service_policies.py::test_sts_1_a_record_behind_an_alias_and_in_several_strings",
        "test_sts_record.py::test_sts1_sts3_sts4_records",
        "test_sts_record.py::test_whatever_the_grammar_allows_is_read",
    ),
    2: (
        "other records are discarded, and exactly one is left",
        "test_sts_record.py::test_sts2_records_that_are_discarded",
        "test_sts_record.py::test_sts2_more_than_one_record",
    ),
    3: ("the id; of a repeated field the first counts", "test_sts_record.py::test_sts1_sts3_sts4_records"),
    4: (
        "unknown fields; a malformed one makes the record invalid",
        "test_sts_record.py::test_sts1_sts3_sts4_records",
        "test_sts_record.py::test_sts4_records_that_are_not_valid",
    ),
    5: (
        "a TXT record that is gone or invalid deletes no policy",
        "test_policies.py::test_sts_5_bad_txt_never_deletes_a_cached_policy",
        "test_service_dns_faults.py::test_no_fault_stops_mail_or_weakens_what_is_known",
    ),
    6: (
        "the domain itself, never a parent",
        "test_sts_record.py::test_sts6_the_record_is_that_of_the_domain_itself",
        "test_policies.py::test_sts_6_a_parent_is_never_asked",
        "test_query.py::test_keys_without_a_policy",
        "test_query_postfix_keys.py::test_key",  # a smart host's name is the policy domain, an address has none
        MTA_STS + "test_a_policy_does_not_hold_for_subdomains",
    ),
    7: (
        "where the policy is, and the server name in the handshake",
        "test_sts_fetch.py::test_sts7_the_policy_of_a_domain",
    ),
    8: (
        "chain, dates and DNS-ID of the certificate",
        "test_sts_fetch.py::test_sts8_certificates_that_are_not_accepted",
        "test_sts_fetch.py::test_sts8_a_wildcard_as_the_whole_left_most_label_is_accepted",
    ),
    9: (
        "status 200 and no redirect",
        "test_sts_fetch.py::test_sts9_only_status_200_counts",
        "test_sts_fetch.py::test_sts9_no_redirect_is_followed",
    ),
    10: (
        "media type text/plain",
        "test_sts_fetch.py::test_sts10_media_types_that_count",
        "test_sts_fetch.py::test_sts10_media_types_that_do_not",
    ),
    11: (
        "a minute and 64 KB",
        "test_sts_fetch.py::test_sts11_the_time_limit_holds_for_all_of_it",
        "test_sts_fetch.py::test_sts11_no_more_than_64_kb_is_read",
        "test_sts_fetch.py::test_sts11_the_size_limit_is_exact",
    ),
    12: (
        "five minutes between failed tries of one id",
        "test_policies.py::test_sts_12_five_minutes_between_failed_tries_of_one_id",
        "test_policies.py::test_sts_12_a_new_id_is_tried_at_once",
        "test_cache_redis.py::test_sts_12_five_minutes_hold_across_hosts",
    ),
    13: (
        "a failed fetch: the policy held, else none",
        "test_policies.py::test_sts_13_and_21_a_failed_fetch_leaves_the_cached_policy",
        "test_policies.py::test_sts_13_a_failed_fetch_without_a_policy_is_no_policy",
        "test_service_dns_faults.py::test_no_fault_stops_mail_or_weakens_what_is_known",
        MTA_STS + "test_policy_host_down_and_the_daemon_killed_with_a_cached_policy",
    ),
    14: (
        "refreshed daily; failures are logged unless the mode is none",
        "test_policies.py::test_sts_14_refreshed_about_daily_although_the_id_is_the_same",
        "test_policies.py::test_sts_14_failed_refreshes_are_logged_unless_mode_none",
        "test_policies.py::test_sts_14_the_refresh_does_not_need_a_working_dns",
        "test_refresh_places.py::test_hanging_domains_do_not_starve_the_others",
    ),
    15: (
        "a new id is fetched; a fetch starts max_age anew",
        "test_policies.py::test_sts_15_a_new_id_is_fetched_and_the_same_one_is_not",
        "test_policies.py::test_sts_15_a_fetch_starts_the_max_age_clock_anew",
    ),
    16: (
        "line ends",
        "test_sts_policy.py::test_sts16_line_ends_and_white_space",
        "test_sts_policy.py::test_sts16_nothing_else_ends_a_line",
    ),
    17: (
        "the known fields, in the letter case of the grammar",
        "test_sts_policy.py::test_the_example_of_the_rfc",
        "test_sts_policy.py::test_sts17_modes",
        "test_sts_policy.py::test_sts17_mode_none_needs_no_mx",
        "test_sts_policy.py::test_sts17_sts21_texts_that_are_not_valid",
    ),
    18: (
        "bounds of max_age",
        "test_sts_policy.py::test_sts18_max_age",
        "test_policies.py::test_sts_18_max_age_bounds",
    ),
    19: (
        "unknown and repeated fields",
        "test_sts_policy.py::test_sts19_unknown_fields_are_ignored",
        "test_sts_policy.py::test_sts19_of_a_repeated_field_the_first_counts",
    ),
    20: (
        "mx patterns",
        "test_sts_policy.py::test_sts20_patterns",
        "test_sts_policy.py::test_sts20_sts21_one_bad_pattern_makes_the_policy_invalid",
    ),
    21: (
        "an invalid policy is a failed fetch",
        "test_sts_fetch.py::test_sts21_a_text_that_is_no_policy",
        "test_policies.py::test_sts_13_and_21_a_failed_fetch_leaves_the_cached_policy",
    ),
    22: (
        "a wildcard is one label",
        "test_sts_policy.py::test_sts22_matching",
        MTA_STS + "test_wildcard_in_the_policy",
    ),
    23: (
        "the MX name and the certificate are two checks",
        MTA_STS + "test_mx_host_that_the_policy_does_not_name",
        MTA_STS + "test_certificate_for_the_policy_name_at_another_mx_host",
    ),
    24: (
        "enforce: the next MX, then deferred, and a newer policy is looked for",
        MTA_STS + "test_refused",
        MTA_STS + "test_the_mx_host_that_the_policy_does_not_name_is_passed_over",
        MTA_STS + "test_deferred_and_delivered_later_once_mended",
        "test_policies.py::test_complaint_4_a_policy_that_fits_no_mx_is_looked_at_once",
        "test_service_mx.py::test_complaint_4_the_daemon_looks_for_a_newer_policy",
        "tests/postfix/test_outbound_mx.py::test_complaint_4_mail_that_moved_to_another_host_is_delivered",
    ),
    25: (
        "testing enforces nothing",
        "test_decide.py::test_pfx_40_pfx_41_table",
        MTA_STS + "test_delivered_as_before_where_nothing_is_enforced",
    ),
    26: (
        "none is kept and enforces nothing",
        "test_policies.py::test_sts_26_mode_none_is_kept_until_max_age",
        MTA_STS + "test_delivered_as_before_where_nothing_is_enforced",
    ),
    27: (
        "the MX hosts are tried in their order, not sorted out before",
        MTA_STS + "test_the_mx_host_that_the_policy_does_not_name_is_passed_over",
    ),
    28: (
        "TLS 1.2 for the policy; the server name for SMTP is that of the host",
        "test_sts_fetch.py::test_sts28_nothing_below_tls_1_2",
        "test_render.py::test_pfx_34_enforce",
        MTA_STS + "test_delivered_to_the_right_mx_over_verified_tls",
        "tests/postfix/test_outbound_tls_version.py::test_sts_28_an_mx_host_with_tls_1_1_gets_no_mail",
    ),
    29: (
        "DANE first",
        "test_decide.py::test_what_holds_for_any_facts_pfx_39_pfx_40_pfx_41",
        DANE + "test_tlsa_matches_where_pkix_would_not",
        DANE + "test_tlsa_does_not_match_where_pkix_would",
    ),
    30: (
        "expired is no policy, counted from the fetch",
        "test_policies.py::test_sts_30_an_expired_policy_is_none_counted_from_the_fetch",
        "test_cache_sqlite.py::test_sts_30_time_goes_on_while_the_daemon_is_down",
    ),
    31: (
        "the first contact waits for a short time",
        "test_policies.py::test_sts_31_first_contact_waits_no_longer_than_it_may",
        "tests/postfix/test_outbound_daemon.py::test_a_hanging_policy_host_does_not_hold_mail",
        "tests/postfix/test_outbound_daemon.py::test_a_late_policy_counts_for_the_next_message",
    ),
}
PFX: dict[int, tuple[str, ...]] = {
    32: (
        "requests and replies on the wire",
        "test_socketmap.py::test_requests",
        "test_socketmap.py::test_replies",
        "test_render.py::test_pfx_32_a_reply_fits",
        "test_server.py::test_longest_request_and_longest_reply",
    ),
    33: (
        "the keys that Postfix sends",
        "test_query.py::test_keys_without_a_policy",
        "test_query_postfix_keys.py::test_key",
        "tests/postfix/test_outbound_keys.py::test_keys_are_those_of_the_record",
    ),
    34: (
        "secure with its names, never an empty match",
        "test_render.py::test_pfx_34_enforce",
        "test_render.py::test_pfx_34_pfx_36_never_an_empty_match",
        ATTRIBUTES + "test_nothing_usable_makes_every_host_fail",
    ),
    35: (
        "attributes of 3.10, by the name of the map",
        "test_render.py::test_pfx_35_attributes_of_postfix_3_10",
        ATTRIBUTES + "test_postfix_has_understood_the_policy",
        ATTRIBUTES + "test_old_postfix_refuses_the_attributes",
    ),
    36: (
        "which attributes go together",
        "test_render.py::test_pfx_36_no_report_attributes_without_sts",
        "test_render.py::test_pfx_36_policy_failure_never_with_a_policy_that_can_be_obeyed",
        ATTRIBUTES + "test_failure_is_reported_with_the_policy",
    ),
    37: (
        "text of strangers adds nothing to the line",
        "test_render.py::test_pfx_37_lines_of_the_policy_add_nothing",
        "test_render.py::test_pfx_37_postfix_reads_what_was_meant",
        "test_sts_policy.py::test_pfx37_lines_that_could_do_harm_are_not_kept",
        ATTRIBUTES + "test_no_line_of_a_policy_can_add_an_attribute",
        ATTRIBUTES + "test_hostile_policy_text_injects_nothing",
    ),
    38: (
        "3.10.5 compares the MX name with the patterns",
        MTA_STS + "test_mx_host_that_the_policy_does_not_name",
        MTA_STS + "test_certificate_for_the_policy_name_at_another_mx_host",
    ),
    39: (
        "NOTFOUND where nothing is enforced, never weaker than the site's level",
        "test_render.py::test_pfx_39_nothing_to_enforce_is_notfound",
        "test_decide.py::test_what_holds_for_any_facts_pfx_39_pfx_40_pfx_41",
        DANE + "test_no_answer_is_weaker_than_the_sites_own_level",
        "test_decide.py::test_no_answer_is_weaker_than_the_sites_own_level_pfx_39",
        DANE + "test_an_enforce_policy_does_not_replace_a_stricter_level",
    ),
    40: (
        "DANE is looked for before a per-domain level replaces the site's",
        "test_dane_lookup.py::test_pfx_40_signed_domain",
        "test_decide.py::test_pfx_40_pfx_41_table",
        DANE + "test_usable_tlsa_everywhere_is_dane_only",
        "test_service_dns_faults.py::test_no_fault_stops_mail_or_weakens_what_is_known",
    ),
    41: (
        "TEMP for a policy that is known and cannot be read, and for nothing else",
        "test_decide.py::test_pfx_40_pfx_41_table",
        "test_render.py::test_pfx_32_pfx_41_temp_carries_a_plain_reason",
        "test_answering.py::test_a_fault_inside_defers_only_what_an_enforce_policy_protects",
        "test_cache_sqlite.py::test_an_enforce_policy_that_cannot_be_read_is_known_to_exist",
        "test_cache_sqlite.py::test_mail_waits_for_an_unreadable_policy_for_a_set_time",
        "test_cache_redis.py::test_restarts_do_not_begin_the_time_of_a_damaged_value_anew",
    ),
}
ELSEWHERE = {
    31: "one answer for all recipients at the end of a message: the inbound gate",
    42: "Postfix's own TLS reports: the reporter",
    43: "REQUIRETLS is carried by Postfix; a policy map has no say in it",
}


def test_no_rule_is_left_out() -> None:
    assert list(STS) == list(range(1, 32))
    assert sorted([*PFX, *ELSEWHERE]) == list(range(31, 44))


@pytest.mark.parametrize(
    "proofs",
    [pytest.param(row[1:], id=f"{part}-{n}") for part, rows in (("STS", STS), ("PFX", PFX)) for n, row in rows.items()],
)
def test_each_rule_has_tests(proofs: tuple[str, ...]) -> None:
    assert proofs
    assert gone(proofs, "test_tlspolicyd") == []
