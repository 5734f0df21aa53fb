"""Which tests prove the rules that other implementations have got wrong.

Each rule of the checklist of standards that is known to have been broken somewhere is here with the tests that hold
ours to it. A rule without a test, and a test that has gone, is noticed.
"""

from __future__ import annotations

import pytest

from tests.support.proofs import gone

# rule -> what it says, and "file::test" below tests/test_authmilter/, or with a path from the root
COVERED: dict[str, tuple[str, ...]] = {
    # RFC 7208
    "SPF-7": (
        "a sender without local part is postmaster",
        "test_spf_rules.py::test_a_sender_without_local_part_is_postmaster",
        "test_spf_rules.py::test_the_null_sender_is_postmaster_at_helo",
    ),
    "SPF-9": (
        "only v=spf1 followed by a blank or the end",
        "test_spf_rules.py::test_which_record_counts",
    ),
    "SPF-10": ("none for no record, permerror for two", "test_spf_rules.py::test_which_record_counts"),
    "SPF-13": (
        "terms in any letter case, four qualifiers",
        "test_spf_rules.py::test_qualifiers_and_letter_case",
        "test_spf_rules.py::test_modifiers",
    ),
    "SPF-19": (
        "more than ten MX names are a permerror",
        "test_spf_rules.py::test_more_than_ten_mx_names_are_a_permerror",
    ),
    "SPF-21": ("more than two void look-ups are a permerror", "test_spf_rules.py::test_void_lookups"),
    "SPF-22": (
        "void look-ups are counted in the client's family",
        "test_spf_rules.py::test_void_lookups",
        "test_spf_rules.py::test_ptr_names_count_as_void_lookups_in_one_family",
        "test_spf_rules.py::test_terms_that_cannot_be_asked_for_are_no_void_lookups",
    ),
    "SPF-41": (
        "transformers and all delimiters of macros",
        "test_spf_macros.py::test_delimiters",
        "test_spf_macros.py::test_delimiters_of_other_letters_are_joined_by_dots_too",
        "test_spf_macros.py::test_expansion",
        "test_spf_macros.py::test_what_is_no_domain_spec_is_a_permerror",
    ),
    "SPF-42": (
        "%{d} changes in include and redirect, %{o} does not",
        "test_spf_rules.py::test_current_domain_and_senders_domain",
    ),
    "SPF-44": ("capital macro letters escape", "test_spf_macros.py::test_upper_case_escapes"),
    "SPF-55": (
        "outside text in Received-SPF is quoted",
        "test_headers_received_spf.py::test_hostile_text_stays_in_its_place",
        "test_headers_received_spf.py::test_verp_sender_is_quoted",
    ),
    # RFC 6376, RFC 8301, RFC 8463
    "DKIM-8": (
        "forms and defaults of c=",
        "test_dkim_signature.py::test_values",
        "test_dkim_signature.py::test_defects",
    ),
    "DKIM-9": (
        "d= is a host name of two labels or more",
        "test_dkim_signature.py::test_defects",
        "test_dkim_signature.py::test_values",
    ),
    "DKIM-12": (
        "l= is no larger than the body",
        "test_dkim_check.py::test_body_lengths",
        "test_dkim_signature.py::test_defects",
    ),
    "DKIM-13": (
        "a body that goes on behind l= does not pass",
        "test_dkim_check.py::test_body_lengths",
        "test_dkim_check.py::test_what_is_added_to_a_body_is_not_vouched_for",
    ),
    "DKIM-27": ("the key's type fits a=", "test_dkim_check.py::test_what_the_key_says"),
    "DKIM-36": (
        "a lone CR or LF is neither white space nor a line end",
        "test_dkim_body_hash.py::test_canonical_bodies",
        "tests/postfix/test_inbound_dkim.py::test_bare_line_ends",
    ),
    "DKIM-41": (
        "bodies as milters get them, also none",
        "test_dkim_check.py::test_odd_bodies",
        "test_dkim_check.py::test_a_message_without_a_body",
        "tests/postfix/test_inbound_dkim.py::test_body",
    ),
    "DKIM-43": (
        "policy is not pass",
        "test_dkim_check.py::test_sizes_of_rsa_keys",
        "test_dkim_check.py::test_sha1_is_policy_whatever_the_key_says",
        "test_dkim_check.py::test_what_the_key_says",
        "test_dmarc_evaluate.py::test_only_what_passed_counts",
    ),
    "DKIM-46": (
        "values of a signature are checked before they are shown",
        "test_headers_results_field.py::test_hostile_text_writes_nothing_of_its_own",
        "test_headers_authres.py::test_any_facts_come_back_through_both_readers",
        "tests/postfix/test_inbound_from.py::test_nothing_is_smuggled_into_the_results",
    ),
    # RFC 9989
    "DMARC-2": (
        "From in the whole grammar of RFC 5322",
        "test_author_corpus.py::test_from_field",
        "test_author_properties.py::test_valid_list",
        "test_author_properties.py::test_as_the_standard_library",
    ),
    "DMARC-4": (
        "a From that cannot be used is never none",
        "test_transaction.py::test_decisions",
        "test_verdict.py::test_each_row",
        "tests/postfix/test_inbound_from.py::test_from",
    ),
    "DMARC-6": (
        "A-labels, any letter case, one final dot",
        "test_standards_rules.py::test_an_author_in_letters_of_its_script",
        "test_dmarc_evaluate.py::test_case_and_final_dot",
        "test_dmarc_evaluate.py::test_internationalized",
    ),
    "DMARC-10": ("tags in any order behind v", "test_dmarc_record.py::test_order_is_free_and_case_does_not_matter"),
    "DMARC-12": (
        "pct, rf and ri are ignored",
        "test_dmarc_record.py::test_unknown_and_historic_tags_are_ignored",
        "test_standards_rules.py::test_the_policy_in_the_field_is_the_one_that_applies",
    ),
    "DMARC-15": ("a size behind a URI is ignored", "test_dmarc_record.py::test_uris"),
    "DMARC-22": (
        "the walk goes up to the top-level domain",
        "test_dmarc_walk.py::test_how_many_labels",
        "test_dmarc_walk.py::test_eight_queries_of_the_standard",
    ),
    "DMARC-24": (
        "the first record does not end the walk",
        "test_dmarc_walk.py::test_first_example_fewest_labels",
        "test_dmarc_walk.py::test_organization_as_in_the_standard",
    ),
    "DMARC-25": (
        "several records at a name count as none, and the walk goes on",
        "test_dmarc_walk.py::test_several_records_at_a_name_count_as_none_and_the_walk_goes_on",
    ),
    "DMARC-32": (
        "only NXDOMAIN says that an author does not exist",
        "test_dmarc_walk.py::test_existence",
        "test_dmarc_evaluate.py::test_what_exists",
    ),
    "DMARC-35": (
        "a record without a usable policy",
        "test_dmarc_record.py::test_record_without_a_usable_policy",
        "test_dmarc_evaluate.py::test_broken_record",
    ),
    "DMARC-39": (
        "a walk for each identifier",
        "test_dmarc_evaluate.py::test_alignment",
        "test_dmarc_evaluate.py::test_public_suffix_with_a_record",
        "test_dmarc_walk.py::test_policy_domain_as_in_the_standard",
    ),
    "DMARC-45": (
        "no list of public suffixes bounds the walk",
        "test_standards_rules.py::test_the_tree_walk_knows_no_list_of_suffixes",
    ),
    "DMARC-46": (
        "HELO never counts, but for the null sender",
        "test_spf_rules.py::test_a_helo_that_passes_never_counts_for_dmarc",
        "tests/postfix/test_inbound_outcomes.py::test_helo_pass_is_not_taken_for_mail_from",
    ),
    "DMARC-54": (
        "policy.dmarc is the policy that applies",
        "test_standards_rules.py::test_the_policy_in_the_field_is_the_one_that_applies",
    ),
    # RFC 8601
    "AR-2": (
        "no semicolon at the end",
        "test_standards_rules.py::test_the_field_is_well_formed",
        "test_headers_results_field.py::test_known_values",
    ),
    "AR-3": (
        "the authserv-id is there and first",
        "test_standards_rules.py::test_the_field_is_well_formed",
        "test_headers_results_field.py::test_authserv_id",
    ),
    "AR-7": (
        "values are quoted, without control characters",
        "test_headers_escape.py::test_pvalue",
        "test_headers_escape.py::test_pieces_cannot_be_left",
        "test_hostile.py::test_odd_octets_everywhere",
    ),
    "AR-11": (
        "auth= is only said of a login",
        "test_transaction.py::test_auth_is_only_said_of_a_login",
        "test_session.py::test_a_login_counts_for_its_message_only",
        "tests/postfix/test_inbound_sessions.py::test_auth_parameter_of_mail_is_no_authentication",
    ),
    "AR-12": (
        "our field stands above everything",
        "test_session.py::test_order_of_the_edits",
        "tests/postfix/test_inbound_outcomes.py::test_genuine_mail_is_delivered_with_results_on_top",
    ),
    "AR-14": (
        "ids are compared as they are meant",
        "test_headers_claims.py::test_forged",
        "tests/postfix/test_inbound_forged.py::test_spelling",
    ),
    "AR-16": (
        "fields of others stay",
        "test_headers_claims.py::test_near_misses_stay",
        "test_transaction.py::test_what_passes_for_ours_goes",
        "tests/postfix/test_inbound_forged.py::test_others_stay",
    ),
    # RFC 8617
    "ARC-1": (
        "no fields are none, more than 50 sets fail",
        "test_arc_check.py::test_no_chain",
        "test_arc_check.py::test_fifty_sets_and_no_more",
    ),
    "ARC-2": (
        "the newest seal says cv=fail: fail, and it is not continued",
        "test_arc_check.py::test_a_chain_that_says_that_it_was_broken",
    ),
    "ARC-9": (
        "a seal signs sets 1 to its own in order",
        "test_arc_check.py::test_every_seal_must_verify",
        "test_arc_check.py::test_order_in_the_header_does_not_matter",
        "test_arc_peer.py::test_chains_of_both_sealers_pass_in_both",
    ),
    "ARC-10": (
        "AMS: DKIM's rules without v=, and i= is the instance",
        "test_arc_check.py::test_tags_of_message_signatures",
        "test_arc_check.py::test_instances",
    ),
    "ARC-21": (
        "a broken chain is sealed with cv=fail over the new set alone",
        "test_arc_sealer.py::test_a_broken_chain_is_sealed_as_broken",
        "test_arc_sealer.py::test_malformed_chains_get_the_next_number",
        "tests/postfix/test_arc_sealing.py::test_a_broken_chain_is_marked_once",
    ),
    "ARC-22": (
        "the claims are our results, escaped as there",
        "test_arc_sealer.py::test_the_claims_are_our_results",
    ),
    # BIMI, which is drafts
    "BIMI-10": (
        "records are tag lists that begin with v=BIMI1, and nothing is repaired",
        "test_bimi_record.py::test_what_is_no_record_at_all",
        "test_bimi_record.py::test_broken_records",
    ),
    "BIMI-18": (
        "a selector counts only if an aligned signature covers it",
        "test_bimi_selector.py::test_only_a_field_that_the_author_signed_counts",
        "test_bimi_discover.py::test_a_selector_counts_if_the_author_signed_it",
    ),
    "BIMI-21": (
        "lps= makes a selector of the local part",
        "test_bimi_selector.py::test_local_parts",
        "test_bimi_discover.py::test_local_parts_as_selectors",
    ),
    "BIMI-26": ("the root of an SVG", "test_bimi_svg.py::test_bad", "test_bimi_svg.py::test_good"),
    "BIMI-29": ("what is not named as allowed is refused", "test_bimi_svg.py::test_bad"),
    "BIMI-35": (
        "a timestamp of a log, verified if the logs are known",
        "test_bimi_evidence.py::test_flaws",
        "test_bimi_evidence.py::test_without_a_log_list_a_timestamp_must_be_there_whoever_signed_it",
    ),
    # Postfix
    "PFX-14": (
        "fields are inserted at index 0, above Postfix's own Received",
        "test_session.py::test_order_of_the_edits",
        "tests/postfix/test_inbound_outcomes.py::test_genuine_mail_is_delivered_with_results_on_top",
    ),
    "PFX-30": (
        "% is doubled in replies, which are one line",
        "test_headers_reply.py::test_pymilter_takes_the_doubled_text",
        "test_session.py::test_a_percent_sign_in_a_reply",
        "test_spf_rules.py::test_an_explanation_reaches_neither_header_nor_reply",
        "tests/postfix/test_inbound_outcomes.py::test_percent_signs_in_a_refusal_come_through_as_they_are",
    ),
}

# the rules that others are known to have broken, of the parts on SPF, DKIM, DMARC, Authentication-Results, ARC, Postfix
KNOWN_TROUBLE = {
    "SPF": (7, 9, 10, 13, 19, 21, 22, 41, 42, 44, 55),
    "DKIM": (8, 9, 12, 13, 27, 36, 41, 43, 46),
    "DMARC": (2, 4, 6, 10, 12, 15, 22, 24, 25, 32, 35, 39, 45, 46, 54),
    "AR": (2, 3, 7, 11, 12, 14, 16),
    "ARC": (1, 2, 9, 10, 21, 22),
    "BIMI": (10, 18, 21, 26, 29, 35),
    "PFX": (14, 30),
}


def test_no_rule_is_left_out() -> None:
    assert list(COVERED) == [f"{part}-{number}" for part, numbers in KNOWN_TROUBLE.items() for number in numbers]


@pytest.mark.parametrize("rule", COVERED)
def test_each_rule_has_tests(rule: str) -> None:
    _, *proofs = COVERED[rule]
    assert proofs
    assert gone(proofs, "test_authmilter") == []
