"""One look-up that is under way, blocking form: it can be sent ahead and read later, by whoever wants it."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from typing import Any

from mailcommon.dns import exchange, lookup
from mailcommon.dns.answer import Answer
from mailcommon.dns.lookup import Attempt, Question
from mailcommon.dns.wire import make_query

_STALE = 60.0  # seconds that an answer may lie in its socket


class Flight:
    """Who holds `lock` does the look-up and sets `answer`; everybody else who wants it waits for the lock."""

    __slots__ = ("_query", "_question", "_sent", "answer", "lock", "looked", "started")

    def __init__(self, question: Question) -> None:
        self._question = question
        self._query = make_query(question.name, question.rdtype)
        self._sent: socket.socket | None = None  # where the answer to the first message will be
        self.started = self.looked = question.clock()
        self.answer: Answer[Any] | None = None
        self.lock = threading.Lock()

    def send_ahead(self) -> bool:
        """Send the first message without waiting; False if it cannot be sent (`run` meets the error and says it)."""
        try:
            self._sent = exchange.send_datagram(self._question.servers[0], self._query)
        except OSError:
            return False
        return True

    def read_ahead(self) -> Answer[Any] | None:
        """The answer, if that is what has arrived by now; never waits."""
        age = self._age()
        self.looked = self._question.clock()
        if self._sent is None:
            return None
        steps = lookup.look_up(self._question, self._query)
        next(steps)
        try:
            steps.send(exchange.receive_datagram(self._sent, self._query, 0))
        except StopIteration as end:
            return _aged(end.value, age)
        except OSError:
            return None
        steps.close()  # there is more to do, such as TCP: not without somebody who wants it
        self.close()
        return None

    def is_open(self, seconds: float) -> bool:
        """Whether an answer may still come: what was sent is out, for less than `seconds`."""
        return self._sent is not None and self._question.clock() - self.started < seconds

    def run(self) -> Answer[Any]:
        """The answer; the network's errors are part of it.

        It takes at most the question's timeout from the start, or a fifth of it from now if that is later: look-ups
        that were started together do not wait for one dead server one after the other.
        """
        age = self._age()
        timeout = self._question.timeout
        question = replace(self._question, timeout=max(timeout - age, timeout / 5)) if self._sent else self._question
        steps = lookup.look_up(question, self._query)
        try:
            attempt = next(steps)
            while True:
                attempt = steps.send(self._attempt(attempt))
        except StopIteration as end:
            return _aged(end.value, age)

    def close(self) -> None:
        """Give up what was sent ahead."""
        if self._sent is not None:
            self._sent.close()
            self._sent = None

    def __del__(self) -> None:
        self.close()

    def _age(self) -> float:
        """Seconds since the start; what was sent ahead too long ago is given up."""
        age = self._question.clock() - self.started
        if age > _STALE:
            self.close()
            return 0.0
        return age

    def _attempt(self, attempt: Attempt) -> bytes | OSError:
        try:
            if attempt.stream:
                return exchange.exchange_stream(attempt.server, attempt.query, attempt.seconds)
            if attempt.query is self._query and self._sent is not None:
                source, self._sent = self._sent, None
            else:
                source = exchange.send_datagram(attempt.server, attempt.query)
            with source:
                return exchange.receive_datagram(source, attempt.query, attempt.seconds)
        except OSError as fault:
            return fault


def _aged(answer: Answer[Any], seconds: float) -> Answer[Any]:
    """`answer` with the time since it was asked for taken off its TTL."""
    return replace(answer, ttl=max(0, answer.ttl - int(seconds))) if seconds >= 1 else answer
