"""Which tests prove each rule of MTA-STS for a sender (STS), Postfix's policy maps (PFX) and TLS reports (TLSRPT).

The rules are those of the checklist of standards. A rule without a test, and a test that has gone, is noticed.
"""

from __future__ import annotations

import pytest

from tests.support.proofs import gone

MTA_STS = "tests/postfix/test_outbound_mta_sts.py::"
DANE = "tests/postfix/test_outbound_dane.py::"
REPORTS = "tests/postfix/test_outbound_reports.py::"
REPORTS_LOG = "tests/postfix/test_outbound_reports_log.py::"
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
    42: (
        "datagrams of Postfix 3.10, and reports that say TLS-Required: No",
        REPORTS + "test_the_report_says_what_happened",
        REPORTS + "test_tlsrpt_4_5_reports_are_delivered_despite_tls_failures_and_not_reported",
    ),
}
TLSRPT: dict[int, tuple[str, ...]] = {
    1: (
        "the TXT record: exactly one",
        "test_tlsrpt_record.py::test_tlsrpt_1_2_records",
        "test_tlsrpt_record.py::test_tlsrpt_1_no_reports",
        "test_tlsrpt_record.py::test_tlsrpt_1_other_records_are_discarded",
    ),
    2: (
        "rua: mailto and https, unknown fields ignored",
        "test_tlsrpt_record.py::test_tlsrpt_1_2_records",
        "test_tlsrpt_record.py::test_uris_that_are_not_used",
    ),
    3: ("delivered to all places", "test_tlsrpt_send.py::test_by_mail_and_by_https"),
    4: (
        "reports are delivered despite TLS failures",
        REPORTS + "test_tlsrpt_4_5_reports_are_delivered_despite_tls_failures_and_not_reported",
        REPORTS_LOG + "test_tlsrpt_4_5_reports_are_delivered_despite_tls_failures_and_not_reported",
    ),
    5: (
        "and not reported themselves",
        REPORTS + "test_tlsrpt_4_5_reports_are_delivered_despite_tls_failures_and_not_reported",
        REPORTS_LOG + "test_tlsrpt_4_5_reports_are_delivered_despite_tls_failures_and_not_reported",
        "test_tlsrpt_log.py::test_tlsrpt_5_other_programs_and_the_one_that_sends_reports",
    ),
    6: ("signed on the way", "tests/postfix/test_outbound_reports_signed.py::test_tlsrpt_6_8_signed"),
    7: ("multipart/report with both parts", "test_tlsrpt_report.py::test_tlsrpt_7_8_9_the_mail"),
    8: (
        "TLS-Report-Domain, TLS-Report-Submitter, and both signed",
        "test_tlsrpt_report.py::test_tlsrpt_7_8_9_the_mail",
        "tests/postfix/test_outbound_reports_signed.py::test_tlsrpt_6_8_signed",
    ),
    9: (
        "the subject",
        "test_tlsrpt_report.py::test_tlsrpt_7_8_9_the_mail",
        "test_tlsrpt_report.py::test_the_longest_names",
    ),
    10: ("the file name", "test_tlsrpt_report.py::test_tlsrpt_10_file_name"),
    12: (
        "POST: 2xx is done, all else is tried again for a day",
        "test_tlsrpt_send.py::test_tlsrpt_12_the_same_report_in_both_ways",
        "test_tlsrpt_send.py::test_tlsrpt_12_statuses_that_are_done",
        "test_tlsrpt_send.py::test_tlsrpt_12_other_statuses_are_tried_again",
        "test_tlsrpt_send.py::test_tlsrpt_12_tried_again_for_a_day",
    ),
    13: ("gzip", "test_tlsrpt_report.py::test_tlsrpt_13_packed"),
    14: (
        "whole UTC days, and a random delay",
        "test_tlsrpt_counts.py::test_tlsrpt_14_a_utc_day",
        "test_tlsrpt_send.py::test_tlsrpt_14_a_day_that_is_not_over_is_not_reported",
        "test_tlsrpt_send.py::test_tlsrpt_14_random_delay",
        "test_tlsrpt_send.py::test_tlsrpt_14_delays_are_spread",
    ),
    16: (
        "the fields of a report",
        "test_tlsrpt_report.py::test_the_report_of_the_rfc",
        "test_tlsrpt_report.py::test_tlsrpt_16_17_20_21_22_any_counts_give_a_report_that_fits_the_schema",
        REPORTS + "test_tlsrpt_16_17_every_report_fits_the_schema",
    ),
    17: (
        "the fields of a policy",
        "test_tlsrpt_report.py::test_tlsrpt_16_17_20_21_22_any_counts_give_a_report_that_fits_the_schema",
        REPORTS + "test_tlsrpt_16_17_every_report_fits_the_schema",
    ),
    18: ("policy-domain without a policy", REPORTS + "test_tlsrpt_18_policy_domain_without_a_policy"),
    19: (
        "policy strings, line by line and record by record, errors kept",
        "test_tlsrpt_attribution.py::test_tlsrpt_19_an_invalid_policy_is_told_with_its_errors",
        REPORTS + "test_tlsrpt_19_policy_strings",
    ),
    20: (
        "totals",
        "test_tlsrpt_counts.py::test_tlsrpt_20_successes_and_failures",
        "test_tlsrpt_counts.py::test_totals_in_are_totals_out",
        "test_tlsrpt_report.py::test_parsedmarc_reads_the_same_numbers",
    ),
    21: (
        "failure details",
        "test_tlsrpt_report.py::test_the_report_of_the_rfc",
        REPORTS + "test_tlsrpt_21_23_failure_details",
    ),
    22: (
        "result types",
        "test_tlsrpt_datagram.py::test_tlsrpt_22_codes",
        REPORTS + "test_the_report_says_what_happened",
        REPORTS_LOG + "test_the_report_says_what_the_log_says",
    ),
    23: (
        "reasons of the general ones",
        "test_tlsrpt_datagram.py::test_tlsrpt_23_an_untrusted_chain_has_its_own_word",
        REPORTS + "test_tlsrpt_21_23_failure_details",
    ),
    24: ("a day without failures", "test_tlsrpt_report.py::test_tlsrpt_24_a_day_without_failures_is_reported"),
    25: (
        "modes testing and none",
        "test_tlsrpt_attribution.py::test_tlsrpt_25_mode_testing",
        "test_tlsrpt_log.py::test_tlsrpt_25_mode_testing",
        "test_tlsrpt_log.py::test_tlsrpt_25_nothing_known_and_mode_none",
        REPORTS + "test_the_report_says_what_happened",
    ),
    26: (
        "several policies",
        "test_tlsrpt_report.py::test_tlsrpt_26_policies_are_apart_and_in_a_fixed_order",
        REPORTS + "test_tlsrpt_26_several_policies",
    ),
}
TLSRPT_ELSEWHERE = {
    11: "the key with s=tlsrpt: what the domain publishes",
    15: "for those who receive reports",
    27: "for those who receive reports",
}
ELSEWHERE = {
    31: "one answer for all recipients at the end of a message: the inbound gate",
    43: "REQUIRETLS is carried by Postfix; a policy map has no say in it",
}


def test_no_rule_is_left_out() -> None:
    assert list(STS) == list(range(1, 32))
    assert sorted([*PFX, *ELSEWHERE]) == list(range(31, 44))
    assert sorted([*TLSRPT, *TLSRPT_ELSEWHERE]) == list(range(1, 28))


@pytest.mark.parametrize(
    "proofs",
    [
        pytest.param(row[1:], id=f"{part}-{n}")
        for part, rows in (("STS", STS), ("PFX", PFX), ("TLSRPT", TLSRPT))
        for n, row in rows.items()
    ],
)
def test_each_rule_has_tests(proofs: tuple[str, ...]) -> None:
    assert proofs
    assert gone(proofs, "test_tlspolicyd") == []
