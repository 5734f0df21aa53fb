"""Datagrams of libtlsrpt: what Postfix sends is understood, and nothing that anybody sends does harm."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlspolicyd.tlsrpt.datagram import MAX_OCTETS, Malformed, parse
from tlspolicyd.tlsrpt.sessions import AppliedPolicy, Failure, PolicyType, Result, Session

RECORD = "v=TLSRPTv1; rua=mailto:tls@a.example"


def event(policy: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"d": "a.example", "pr": RECORD}
    told["policies"] = [{"policy-type": 9, "policy-domain": "a.example", "t": 0, "f": 0} if policy is None else policy]
    return told | more


def octets(told: Any) -> bytes:
    return json.dumps(told).encode()


def only(told: Any) -> Session:
    sessions = parse(octets(told))
    assert not isinstance(sessions, Malformed), sessions
    (session,) = sessions
    return session


def failing(**detail: Any) -> Failure:
    told = {"policy-type": 2, "policy-domain": "a.example", "failure-details": [detail], "t": 1, "f": 1}
    (failure,) = only(event(told)).failures
    return failure


def test_success_without_a_policy() -> None:
    assert only(event()) == Session("a.example", AppliedPolicy(PolicyType.NONE, "a.example"), False, (), RECORD)


def test_sts_policy() -> None:
    lines = ["version: STSv1", "mode: enforce", "mx: mx.a.example", "mx: *.m.example", "max_age: 86400"]
    told = {
        "policy-type": 2,
        "policy-domain": "a.example",
        "policy-string": lines,
        "mx-host": ["mx.a.example", "*.m.example"],
        "t": 0,
        "f": 0,
    }
    assert only(event(told)).policy == AppliedPolicy(
        PolicyType.STS, "a.example", tuple(lines), ("mx.a.example", "*.m.example")
    )


def test_dane_has_the_tlsa_base_domain() -> None:
    told = {"policy-type": 1, "policy-domain": "mx.a.example", "policy-string": ["3 0 1 AB12"], "t": 0, "f": 0}
    session = only(event(told))
    assert (session.domain, session.policy.domain) == ("a.example", "mx.a.example")
    assert session.policy.strings == ("3 0 1 AB12",)


def test_several_policies_of_one_session() -> None:
    told = event()
    told["policies"] = [{"policy-type": kind, "policy-domain": "a.example", "t": 0, "f": 0} for kind in (1, 2)]
    sessions = parse(octets(told))
    assert not isinstance(sessions, Malformed)
    assert [session.policy.type for session in sessions] == [PolicyType.TLSA, PolicyType.STS]


def test_failure_with_all_its_fields() -> None:
    assert failing(
        c=203, s="192.0.2.1", n="MX.A.example.", h="mx.a.example", r="2001:DB8:0::1", a="https://x.example/1", f="why"
    ) == Failure(
        Result.NOT_TRUSTED, "192.0.2.1", "mx.a.example", "mx.a.example", "2001:db8::1", "https://x.example/1", "why"
    )


@pytest.mark.parametrize(
    ("code", "result"),
    [
        (201, "starttls-not-supported"),
        (202, "certificate-host-mismatch"),
        (203, "certificate-not-trusted"),
        (204, "certificate-expired"),
        (205, "validation-failure"),
        (301, "sts-policy-fetch-error"),
        (302, "sts-policy-invalid"),
        (303, "sts-webpki-invalid"),
        (304, "tlsa-invalid"),
        (305, "dnssec-invalid"),
        (306, "dane-required"),
    ],
)
def test_tlsrpt_22_codes(code: int, result: str) -> None:
    assert failing(c=code).result == result


def test_every_result_type_has_a_code() -> None:
    assert {failing(c=code).result for code in [*range(201, 206), *range(301, 307)]} == set(Result)


@pytest.mark.parametrize("reason", ["self-signed_certificate", "unable_to_get_local_issuer_certificate"])
def test_tlsrpt_23_an_untrusted_chain_has_its_own_word(reason: str) -> None:
    assert failing(c=205, f=reason) == Failure(Result.NOT_TRUSTED, reason=reason)


def test_a_handshake_that_failed_stays_a_validation_failure() -> None:
    assert failing(c=205, f="tls-handshake-failure").result is Result.VALIDATION


def test_an_unknown_code_is_a_failure() -> None:
    assert failing(c=999, f="new") == Failure(Result.VALIDATION, reason="libtlsrpt-999 new")
    assert failing(c="x").result is Result.VALIDATION


def test_a_failed_session_without_details_is_counted() -> None:
    session = only(event({"policy-type": 2, "f": 1}))
    assert (session.failed, session.failures) == (True, (Failure(Result.VALIDATION),))


def test_failures_before_a_success_do_not_make_it_fail() -> None:
    session = only(event({"policy-type": 2, "failure-details": [{"c": 204}], "t": 1, "f": 0}))
    assert not session.failed


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        ("250-mx.a.example\r\n250-SIZE 33554432\r\n250-STARTTLS\r\n250 HELP", "mx.a.example"),
        ("250 mx.a.example", "mx.a.example"),
        ("mx.a.example at your service", "mx.a.example"),
        ("250-\x1b[31mred\r\n250 HELP", "?[31mred"),
        ("", ""),
        ("\r\n", ""),
        ("x" * 300, "x" * 255),
    ],
)
def test_helo_is_the_first_name_of_the_whole_reply(reply: str, name: str) -> None:
    assert failing(c=201, h=reply).helo == name


@pytest.mark.parametrize(
    "detail",
    [
        {"s": "not an address", "n": "not a name", "r": "1.2.3"},
        {"s": 1, "n": ["x"], "h": {}, "r": None, "a": True, "f": 2.5},
    ],
)
def test_fields_that_are_none_are_left_out(detail: dict[str, Any]) -> None:
    assert failing(c=201, **detail) == Failure(Result.NO_STARTTLS)


def test_names_are_a_labels() -> None:
    told = event({"policy-type": 2, "policy-domain": "Bücher.example", "mx-host": ["*.Bücher.example"], "f": 0})
    session = only(told | {"d": "BÜCHER.example."})
    assert session.domain == "xn--bcher-kva.example"
    assert session.policy == AppliedPolicy(PolicyType.STS, "xn--bcher-kva.example", (), ("*.xn--bcher-kva.example",))


def test_octets_that_are_no_utf_8_in_a_reply() -> None:
    told = octets(event({"policy-type": 2, "failure-details": [{"c": 201, "h": "250 HERE"}], "f": 1}))
    sessions = parse(told.replace(b"HERE", b"\xff\xfe"))
    assert not isinstance(sessions, Malformed)
    assert sessions[0].failures[0].helo.isprintable()


MALFORMED: list[tuple[bytes, str]] = [
    (b"", "not JSON"),
    (b"{", "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b"1" * 5000, "not JSON"),
    (b"x" * (MAX_OCTETS + 1), "too long"),
    (b"[]", "fields"),
    (b"NaN", "fields"),
    (octets(event(dpv="2")), "version"),
    (octets(event(dpv=1)), "version"),
    (octets(event(d=None)), "domain"),
    (octets(event(d="")), "domain"),
    (octets(event(d="localhost")), "domain"),
    (octets(event(d="[192.0.2.1]")), "domain"),
    (octets(event(d="a.example\nb")), "domain"),
    (octets(event(d="a" * 300 + ".example")), "domain"),
    (octets(event(policies=None)), "fields"),
    (octets(event(policies=[])), "fields"),
    (octets(event(policies=[1])), "fields"),
    (octets(event(policies=[{"policy-type": 9, "f": 0}] * 11)), "fields"),
    (octets(event({})), "fields"),
    (octets(event({"policy-type": 3, "f": 0})), "fields"),
    (octets(event({"policy-type": True, "f": 0})), "fields"),
    (octets(event({"policy-type": "2", "f": 0})), "fields"),
    (octets(event({"policy-type": 2})), "fields"),
    (octets(event({"policy-type": 2, "f": 2})), "fields"),
    (octets(event({"policy-type": 2, "f": False})), "fields"),
    (octets(event({"policy-type": 2, "f": 0, "policy-string": "x"})), "fields"),
    (octets(event({"policy-type": 2, "f": 0, "policy-string": ["x"] * 1001})), "fields"),
    (octets(event({"policy-type": 2, "f": 0, "mx-host": ["x"] * 1001})), "fields"),
    (octets(event({"policy-type": 2, "f": 1, "failure-details": {}})), "fields"),
    (octets(event({"policy-type": 2, "f": 1, "failure-details": ["x"]})), "fields"),
    (octets(event({"policy-type": 2, "f": 1, "failure-details": [{"c": 201}] * 1001})), "fields"),
]


@pytest.mark.parametrize(("told", "reason"), MALFORMED, ids=range(len(MALFORMED)))
def test_malformed(told: bytes, reason: str) -> None:
    found = parse(told)
    assert isinstance(found, Malformed)
    assert str(found) == reason


def test_version_1_may_be_said() -> None:
    assert only(event(dpv="1")).domain == "a.example"


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=10,
)
details = st.fixed_dictionaries(
    {}, optional={key: st.one_of(values, st.integers(200, 310)) for key in ("c", "s", "n", "h", "r", "a", "f")}
)
policies = st.fixed_dictionaries(
    {"policy-type": st.sampled_from([1, 2, 9]), "f": st.sampled_from([0, 1])},
    optional={
        "policy-domain": values,
        "policy-string": st.lists(values, max_size=4),
        "mx-host": st.lists(st.text() | st.sampled_from(["*.a.example", "mx"]), max_size=4),
        "failure-details": st.lists(details, max_size=4),
    },
)


@given(st.binary() | st.builds(octets, values))
def test_whatever_comes_never_raises(told: bytes) -> None:
    found = parse(told)
    assert isinstance(found, Malformed | tuple)


@given(
    st.fixed_dictionaries(
        {"d": st.sampled_from(["a.example", "Ü.example"]), "policies": st.lists(policies, min_size=1, max_size=3)},
        optional={"pr": values},
    )
)
def test_what_is_taken_is_clean(told: dict[str, Any]) -> None:
    sessions = parse(octets(told))
    assert not isinstance(sessions, Malformed)
    assert len(sessions) == len(told["policies"])
    for session in sessions:
        assert session.failures or not session.failed
        texts = [session.domain, session.record, session.policy.domain, *session.policy.strings, *session.policy.mx]
        for failure in session.failures:
            texts += [failure.mx, failure.helo, failure.ip, failure.sending_ip, failure.info, failure.reason]
        for text in texts:
            assert len(text) <= 2000
            assert not text or text.isprintable()
            text.encode()  # no surrogates: RFC 7493 §2.1
