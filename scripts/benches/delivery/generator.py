"""Sends samples over a bare socket, faster than any receiver here.

Told on stdin how many have arrived, it stays a bounded number of samples ahead of the receiver: a broker with an ever
longer queue would be measured instead. With "free" it waits for the broker only, and prints its rate once a second.
"""

import os
import selectors
import socket
import sys
import time

from messages.channels import UP_SAMPLE
from messages.codec import encode
from messages.shapes import Classes, HardSample, Tensor

NODES = 20
WINDOW = 1000
AHEAD = 2000
BATCH = 50
MARK = "00000000"


class Generator:
    """One connection and what went over it."""

    def __init__(self, port: int, size: int, ahead: float) -> None:
        self._packets = [_packet(f"node-{node}", size) for node in range(NODES)]
        self._ahead = ahead
        self._link = socket.create_connection(("127.0.0.1", port))
        self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._link.sendall(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02gg")
        self._link.recv(4)
        self._sent = self._arrived = self._acked_bytes = 0
        self._events = selectors.DefaultSelector()
        self._events.register(self._link, selectors.EVENT_READ, self._take_acks)
        self._events.register(sys.stdin.fileno(), selectors.EVENT_READ, self._take_progress)

    def run(self) -> None:
        """Publish at QoS 1 until killed."""
        begin, shown = time.perf_counter(), 0
        while True:
            while self._sent - self._acked < WINDOW and self._sent - self._arrived < self._ahead:
                self._send()
            for key, _ in self._events.select():
                key.data()
            if time.perf_counter() - begin >= 1.0:
                print((self._acked - shown) / (time.perf_counter() - begin), flush=True)
                begin, shown = time.perf_counter(), self._acked

    @property
    def _acked(self) -> int:
        return self._acked_bytes // 4

    def _send(self) -> None:
        numbers = range(self._sent, self._sent + BATCH)
        self._link.sendall(b"".join(_next(self._packets[n % NODES], n // NODES) for n in numbers))
        self._sent += BATCH

    def _take_acks(self) -> None:
        self._acked_bytes += len(self._link.recv(65_536))

    def _take_progress(self) -> None:
        lines = os.read(sys.stdin.fileno(), 65_536).split()
        if not lines:
            sys.exit()
        self._arrived = int(lines[-1])


def _packet(node: str, size: int) -> tuple[bytes, ...]:
    """A PUBLISH, cut where the number of the sample stands: in the event's id, in `low`'s place, and in its own id."""
    sample = HardSample(
        event_id=f"{node}.{MARK}", timestamp=1, job="collect", sample_id=MARK, reason="bench",
        x=Tensor(dtype="uint8", shape=(size,), data=bytes(size)), edge=Classes(probs=(0.5, 0.5)), low=99_999_999,
    )  # fmt: skip
    topic = UP_SAMPLE.topic("default", node).encode()
    body = len(topic).to_bytes(2, "big") + topic + b"\x00\x01" + encode(sample)
    low = (99_999_999).to_bytes(4, "big")
    head, rest = (b"\x32" + _length(len(body)) + body).split(MARK.encode(), 1)
    middle, rest = rest.split(low, 1)
    between, tail = rest.split(MARK.encode(), 1)
    return head, middle, between, tail


def _next(packet: tuple[bytes, ...], number: int) -> bytes:
    head, middle, between, tail = packet
    text, low = b"%08d" % number, max(0, number - 200).to_bytes(4, "big")
    return b"".join((head, text, middle, low, between, text, tail))


def _length(number: int) -> bytes:
    out = b""
    while True:
        number, digit = divmod(number, 128)
        out += bytes([digit | (128 if number else 0)])
        if not number:
            return out


if __name__ == "__main__":
    Generator(int(sys.argv[1]), int(sys.argv[2]), float("inf") if sys.argv[3] == "free" else AHEAD).run()
