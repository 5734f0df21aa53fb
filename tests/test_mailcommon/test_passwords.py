"""No password is shown."""

from __future__ import annotations

import pytest

from mailcommon.passwords import without_password
from mailcommon.settings import Section
from mailcommon.settings_text import as_toml


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:secret@h:5432/d", "postgresql://u:***@h:5432/d"),
        ("postgresql://u:se@cr/et@h/d", "postgresql://u:***@h/d"),
        ("redis://:secret@h/0", "redis://:***@h/0"),
        ("postgresql://h/d?user=u&password=secret&x=1", "postgresql://h/d?user=u&password=***&x=1"),
        ("postgresql://h/d?sslpassword=secret", "postgresql://h/d?sslpassword=***"),
        ("postgresql://u@h:5432/d", "postgresql://u@h:5432/d"),
        ("sqlite:/a:b@c", "sqlite:/a:b@c"),
        ("inet:8891@127.0.0.1", "inet:8891@127.0.0.1"),
    ],
)
def test_without_password(text: str, shown: str) -> None:
    assert without_password(text) == shown


def test_printed_settings_have_none() -> None:
    class Two(Section):
        store: str = "postgresql://u:secret@h/d"
        others: tuple[str, ...] = ("redis://:secret@h",)

    assert as_toml(Two()) == 'store = "postgresql://u:***@h/d"\nothers = ["redis://:***@h"]\n'
