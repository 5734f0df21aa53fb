"""Reads a daemon's page of metrics as Prometheus does.

page = Page(port)
page.value("authmilter_messages_total", decision="reject")    # the sum over all series that have these labels
"""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


class Page:
    """Raises OSError where nobody answers."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/metrics"

    def text(self) -> str:
        """As it is now."""
        with urllib.request.urlopen(self.url, timeout=10.0) as answer:  # fixed scheme
            body = answer.read()
        assert isinstance(body, bytes)
        return body.decode()

    def samples(self) -> Iterator[Sample]:
        """Every sample of the page."""
        for family in text_string_to_metric_families(self.text()):
            yield from family.samples

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name with these labels; 0 if there is none."""
        return sum(
            sample.value
            for sample in self.samples()
            if sample.name == name and all(sample.labels.get(key) == word for key, word in labels.items())
        )
