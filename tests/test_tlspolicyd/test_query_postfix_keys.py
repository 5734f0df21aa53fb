"""The keys that Postfix was seen to send are read as what they mean."""

from __future__ import annotations

import pytest

from tests.support.postfix_keys import SentKey, sent_keys
from tlspolicyd.query import read_query


@pytest.mark.parametrize("sent", sent_keys(), ids=lambda sent: f"{sent.next_hop}-{sent.key}")
def test_key(sent: SentKey) -> None:
    assert read_query("policy", sent.key).domain == sent.domain
