"""A DNS server of our own on 127.0.0.1, for tests, demonstration and benchmarks: zone text in, real packets out.

It answers like a recursive resolver that knows the whole tree; `dns_zone` says how the text looks and which faults it
can have. One thread serves UDP and TCP on one port.
"""

from __future__ import annotations

import collections
import heapq
import itertools
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.support.dns_zone import Question, make_answer, make_truncated, parse_question, parse_zone

_DRIP = 0.05  # seconds between octets
_STREAM_ONLY = frozenset(("truncate", "drip", "close"))
_CONTENT = frozenset(
    ("servfail", "refused", "nxdomain", "bogus", "lame", "formerr", "notimp", "wrong-case", "ad", "no-follow")
)
_SPOOF = frozenset(("nxdomain",))

Send = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Query:
    """One query as received."""

    name: str  # lower case, without trailing dot
    rdtype: str
    transport: str  # "udp" or "tcp"
    edns: bool
    ad: bool


class FakeDns:
    """`with FakeDns(zone) as dns: ... dns.address ...`; `load`, `delay` and the counts work while it runs.

    `delay`: seconds before each answer. `negative_ttl`: of the SOA in negative answers; None: they have no SOA.
    """

    def __init__(self, zone: str = "", *, delay: float = 0.0, negative_ttl: int | None = 300, port: int = 0) -> None:
        self.delay = delay
        self._zone = parse_zone(zone, negative_ttl)
        self._port = port
        self._seen: collections.deque[Query] = collections.deque(maxlen=200_000)
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._streams: dict[socket.socket, bytearray] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, _t: TracebackType | None) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port, UDP and TCP."""
        return self._port

    @property
    def address(self) -> str:
        """The server as the resolver's settings name it: "127.0.0.1:PORT"."""
        return f"127.0.0.1:{self._port}"

    def load(self, zone: str, *, negative_ttl: int | None = 300) -> None:
        """Serve `zone` from now on; raises ValueError that names a line."""
        self._zone = parse_zone(zone, negative_ttl)

    @property
    def queries(self) -> list[Query]:
        """What was asked since the start or `forget`, oldest first (the last 200,000)."""
        return list(self._seen)

    def count(self, name: str | None = None, rdtype: str | None = None, transport: str | None = None) -> int:
        """How many queries there were for this name, type and transport; None is any."""
        wanted = None if name is None else name.removesuffix(".").lower()
        return sum(
            wanted in (None, query.name) and rdtype in (None, query.rdtype) and transport in (None, query.transport)
            for query in self.queries
        )

    def forget(self) -> None:
        """Count from zero."""
        self._seen.clear()

    def start(self) -> None:
        """Bind and serve."""
        self._udp, self._tcp = _bind(self._port)
        self._port = int(self._udp.getsockname()[1])
        self._wake, self._waker = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for each in (self._udp, self._tcp, self._wake):
            each.setblocking(False)
            self._selector.register(each, selectors.EVENT_READ)
        self._stop.clear()
        self._thread = threading.Thread(target=self._serve, name="fake-dns", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close everything."""
        if self._thread is None:
            return
        self._stop.set()
        self._waker.send(b"x")
        self._thread.join()
        self._thread = None
        for each in (self._udp, self._tcp, self._wake, self._waker, *self._streams):
            each.close()
        self._streams.clear()
        self._later.clear()
        self._selector.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            wait = max(0.0, self._later[0][0] - time.monotonic()) if self._later else None
            for key, _ in self._selector.select(wait):
                source = key.fileobj
                if source is self._udp:
                    self._datagrams()
                elif source is self._tcp:
                    self._connection()
                elif isinstance(source, socket.socket) and source is not self._wake:
                    self._stream(source)
            while self._later and self._later[0][0] <= time.monotonic():
                heapq.heappop(self._later)[2]()

    def _at(self, seconds: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), action))

    def _datagrams(self) -> None:
        for _ in range(50):
            try:
                data, peer = self._udp.recvfrom(4096)
            except OSError:
                return
            self._handle(data, "udp", _to(self._udp, peer))

    def _connection(self) -> None:
        try:
            stream, _ = self._tcp.accept()
        except OSError:
            return
        stream.settimeout(1.0)
        self._streams[stream] = bytearray()
        self._selector.register(stream, selectors.EVENT_READ)

    def _stream(self, stream: socket.socket) -> None:
        try:
            data = stream.recv(4096)
        except OSError:
            data = b""
        if not data:
            self._close(stream)
            return
        waiting = self._streams[stream]
        waiting += data
        while len(waiting) >= 2 and len(waiting) >= 2 + (size := int.from_bytes(waiting[:2], "big")):
            message = bytes(waiting[2 : 2 + size])
            del waiting[: 2 + size]
            self._handle(message, "tcp", lambda octets: self._write(stream, octets))

    def _write(self, stream: socket.socket, octets: bytes) -> None:
        """No octets: close."""
        if stream in self._streams:
            try:
                if octets:
                    stream.sendall(octets)
                    return
            except OSError:
                pass
            self._close(stream)

    def _close(self, stream: socket.socket) -> None:
        if self._streams.pop(stream, None) is not None:
            self._selector.unregister(stream)
            stream.close()

    def _drip(self, send: Send, octets: bytes) -> None:
        send(octets[:1])
        if len(octets) > 1:
            self._at(_DRIP, lambda: self._drip(send, octets[1:]))

    def _handle(self, data: bytes, transport: str, send: Send) -> None:
        question = parse_question(data)
        if question is None:
            return
        self._seen.append(Query(question.name, question.rdtype, transport, question.edns, question.ad))
        zone = self._zone
        fault = zone.fault(question.name, question.rdtype)
        delay = self.delay + fault.delay
        words = fault.words
        if "timeout" in words:
            return
        answer = data[:2] + make_answer(zone, question, words & _CONTENT)[2:]
        spoof = data[:2] + make_answer(zone, question, _SPOOF)[2:] if words else b""
        actions: list[Callable[[], object]] = [lambda: self._reply(question, transport, send, words, answer)]
        if "wrong-id" in words:
            actions.insert(0, lambda: send(bytes((data[0] ^ 0xFF, data[1])) + spoof[2:]))
        if "wrong-question" in words:
            changed = spoof[:13] + bytes((spoof[13] ^ 1,)) + spoof[14:]
            actions.insert(0, lambda: send(changed))
        for action in actions:
            if delay > 0:
                self._at(delay, action)
            else:
                action()

    def _reply(self, question: Question, transport: str, send: Send, words: frozenset[str], answer: bytes) -> None:
        if "garbage" in words:
            answer = answer[:4] + b"\0\1\0\7\0\0\0\0" + question.octets + b"\xc0\xff\xff\xff junk" * 5
        if transport == "udp":
            fits = len(answer) <= question.payload and not words & _STREAM_ONLY
            send(answer if fits else make_truncated(answer, question))
        elif "close" in words:
            send(b"")
        elif "drip" in words:
            self._drip(send, len(answer).to_bytes(2, "big") + answer)
        else:
            send(len(answer).to_bytes(2, "big") + answer)


def _to(udp: socket.socket, peer: tuple[str, int]) -> Send:
    return lambda octets: udp.sendto(octets, peer)


def _bind(port: int) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP sockets on one port of 127.0.0.1."""
    for _ in range(20):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            udp.bind(("127.0.0.1", port))
            tcp.bind(udp.getsockname())
            tcp.listen(64)
        except OSError:
            udp.close()
            tcp.close()
        else:
            return udp, tcp
    raise RuntimeError("no port is free for both UDP and TCP")
