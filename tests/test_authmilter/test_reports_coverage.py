"""The walk through the rules of RFC 9990 and RFC 9991: which tests hold ours to each of them."""

from __future__ import annotations

import pytest

from tests.support.proofs import gone

_OBSERVE, _XML, _TO = "test_reports_observation.py::", "test_reports_feedback.py::", "test_reports_destinations.py::"
_SEND, _ROWS, _FAIL = "test_reports_sending.py::", "test_reports_ledger.py::", "test_reports_failure.py::"
_POSTFIX, _MAIL = "tests/postfix/test_reports.py::", "tests/test_mailcommon/test_outbox_mail.py::"
_PLAIN, _VALID = f"{_XML}test_a_plain_report", f"{_XML}test_valid_whatever_was_observed"
_MESSAGE, _FIELDS = f"{_SEND}test_a_report_as_it_arrives", f"{_FAIL}test_the_report"
_PSD = "test_dmarc_record.py::test_no_failure_reports_for_a_public_suffix"
_DISPOSITIONS, _RULES = f"{_OBSERVE}test_dispositions_and_reasons", f"{_TO}test_allowed"

# rule -> what it says, and "file::test" below tests/test_authmilter/, or with a path from the root
COVERED: dict[str, tuple[str, ...]] = {
    "AGG-1": ("root and namespace", _PLAIN),
    "AGG-2": ("first-level elements, version 1.0, at least one record", _PLAIN, _VALID),
    "AGG-3": ("metadata", _PLAIN, f"{_XML}test_errors_of_the_record"),
    "AGG-4": ("the period is a UTC day", f"{_XML}test_the_period_is_one_utc_day", _MESSAGE),
    "AGG-5": ("policy_published without pct", _PLAIN),
    "AGG-6": ("discovered or default values", f"{_OBSERVE}test_defaults_of_the_policy_are_filled_in"),
    "AGG-7": ("what is wrong with the record is told", f"{_XML}test_errors_of_the_record"),
    "AGG-8": ("order in a record", _VALID),
    "AGG-9": ("row; a mapped address is an IPv4 one", _PLAIN),
    "AGG-10": ("order in policy_evaluated", _VALID),
    "AGG-11": ("dispositions, pass among them", _DISPOSITIONS),
    "AGG-12": ("dkim and spf after alignment", f"{_OBSERVE}test_a_plain_message"),
    "AGG-13": ("a reason where the policy was not applied", _DISPOSITIONS, f"{_OBSERVE}test_whatever_comes"),
    "AGG-14": ("types of reasons", _DISPOSITIONS, _VALID),
    "AGG-15": ("policy_test_mode", f"{_OBSERVE}test_test_mode"),
    "AGG-16": ("identifiers, A-labels", f"{_OBSERVE}test_nobody_hides_a_forgery_from_the_reports"),
    "AGG-17": ("one spf at the most", f"{_OBSERVE}test_spf_is_the_mail_from_identity_only"),
    "AGG-18": ("dkim with a selector", f"{_OBSERVE}test_signatures_in_the_order_of_the_standard"),
    "AGG-19": ("spf with the scope mfrom", _PLAIN, f"{_OBSERVE}test_spf_is_the_mail_from_identity_only"),
    "AGG-20": ("lang may be left out", _VALID),
    "AGG-21": ("no extensions are written", _VALID),
    "AGG-22": ("one report for one policy domain", f"{_SEND}test_one_report_for_each_policy_and_day"),
    "AGG-23": ("one record for each set of facts", f"{_ROWS}test_equal_rows_are_counted_together"),
    "AGG-24": ("a changed policy is another report", f"{_SEND}test_one_report_for_each_policy_and_day"),
    "AGG-25": ("signatures, the aligned first", f"{_OBSERVE}test_signatures_in_the_order_of_the_standard"),
    "AGG-26": ("the report id is unique", f"{_SEND}test_what_comes_late_is_reported_alone"),
    "AGG-27": ("and the same everywhere", _MESSAGE),
    "AGG-28": ("text is made safe", _VALID),
    "AGG-29": (
        "every URI in order",
        f"{_SEND}test_destinations_that_do_not_agree_get_nothing",
        f"{_TO}test_hostile_rua",
    ),
    "AGG-30": ("a message with an attachment", f"{_MAIL}test_the_message"),
    "AGG-31": ("application/gzip", _MESSAGE),
    "AGG-32": ("file name", _MESSAGE),
    "AGG-33": ("subject", _MESSAGE, f"{_MAIL}test_a_long_subject_stays_as_it_is"),
    "AGG-34": ("the mail passes DMARC itself", "tests/postfix/test_reports_signed.py::test_report_mail_passes_dmarc"),
    "AGG-35": ("a second try has the same name and id", f"{_SEND}test_a_store_that_fails_in_the_middle"),
    "AGG-37": ("no reports about bounces", f"{_OBSERVE}test_what_is_not_counted"),
    "AGG-38": ("no failure reports for a PSD", _PSD),
    "AGG-39": ("verification outside of the organization", _RULES, f"{_TO}test_not_allowed"),
    "AGG-40": ("the name that is asked; too long", _RULES, f"{_TO}test_not_allowed"),
    "AGG-41": ("the domain of the record", f"{_TO}test_the_record_that_was_found_counts"),
    "AGG-42": ("one of several, and wildcards", _RULES, f"{_TO}test_a_wildcard_is_for_everybody"),
    "AGG-43": ("nothing there, and DNS that fails", f"{_TO}test_not_allowed", f"{_TO}test_dns_fails_for_the_moment"),
    "AGG-44": ("an address in its place", _RULES, f"{_TO}test_not_allowed"),
    "FAIL-1": ("rate limit", f"{_FAIL}test_rate_limits_per_domain_and_in_all"),
    "FAIL-2": ("external destinations", f"{_FAIL}test_external_destinations_have_to_agree"),
    "FAIL-3": ("every ruf URI", f"{_TO}test_failure_reports_go_by_ruf"),
    "FAIL-4": ("ruf of a record with psd=y", _PSD),
    "FAIL-5": ("off by default", f"{_FAIL}test_off_by_default"),
    "FAIL-6": ("fo", f"{_FAIL}test_fo"),
    "FAIL-7": ("three parts", _FIELDS),
    "FAIL-8": ("the feedback part", _FIELDS, f"{_FAIL}test_parsedmarc_reads_the_same"),
    "FAIL-9": ("Identity-Alignment", f"{_FAIL}test_identity_alignment_names_what_failed"),
    "FAIL-10": ("fields of DKIM", _FIELDS),
    "FAIL-11": ("SPF-DNS", _FIELDS, f"{_FAIL}test_like_failures_are_one_report"),
    "FAIL-12": ("Delivery-Result", _FIELDS),
    "FAIL-13": ("further fields", _FIELDS),
    "FAIL-14": ("no report about a report", f"{_POSTFIX}test_a_failure_report_from_a_forged_message"),
    "FAIL-15": ("redaction and Incidents", f"{_FAIL}test_redacted_header", f"{_FAIL}test_like_failures_are_one_report"),
}

# AGG-36: STARTTLS is Postfix's; FAIL-16: an example
ELSEWHERE = {"AGG": (36,), "FAIL": (16,)}
RULES = {"AGG": 44, "FAIL": 16}


def test_no_rule_is_left_out() -> None:
    assert sorted(COVERED) == sorted(
        f"{part}-{number}"
        for part, count in RULES.items()
        for number in range(1, count + 1)
        if number not in ELSEWHERE[part]
    )


@pytest.mark.parametrize("rule", COVERED)
def test_each_rule_has_tests(rule: str) -> None:
    _, *proofs = COVERED[rule]
    assert proofs
    assert gone(proofs, "test_authmilter") == []
