"""Where our own check spends its time: the corpus through `Transaction` in this process, everything cached.

No milter protocol, no threads beside: what is left between this and the rate of the daemon is libmilter, pymilter and
the processes' turn-taking.
"""

from __future__ import annotations

import cProfile
import io
import pstats
import time

from authmilter.facts import Client
from authmilter.settings import Settings
from authmilter.setup import Setup, make_setup
from authmilter.transaction import Transaction
from bench import corpus, nameservers
from bench.corpus import Message
from bench.run import Bench
from mailcommon.setting_types import Dns

_CHUNK = 65535  # octets of body at once


def _check(setup: Setup, message: Message) -> None:
    client = message.envelope.client
    transaction = Transaction(setup, Client(client.ip, client.name, client.name), message.envelope.sender)
    for field in message.fields:
        transaction.header(field.name, field.value)
    transaction.end_of_headers()
    for start in range(0, len(message.body), _CHUNK):
        transaction.body(message.body[start : start + _CHUNK])
    transaction.finish()


def measure(bench: Bench, lines: int) -> None:
    """Print the time per message and the `lines` functions that take most."""
    mixed = corpus.mixed()
    with nameservers.caching(mixed.zone) as (_, addresses):
        setup = make_setup(
            Settings(authserv_id=corpus.AUTHSERV_ID, dns=Dns(nameservers=(addresses.with_port,), timeout=5.0))
        )
        for message in mixed.messages:
            _check(setup, message)
        began = time.thread_time()
        for message in mixed.messages:
            _check(setup, message)
        each = (time.thread_time() - began) / len(mixed.messages)
        bench.tell(f"{each * 1000:.2f} ms of CPU per message without a profiler")
        profiler = cProfile.Profile()
        profiler.enable()
        for message in mixed.messages:
            _check(setup, message)
        profiler.disable()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(lines)
    bench.tell(text.getvalue())
