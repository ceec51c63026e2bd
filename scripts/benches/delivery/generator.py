"""Sends samples over a bare socket, faster than any receiver here; prints its own rate once a second."""

import socket
import sys
import time

from messages.channels import UP_SAMPLE
from messages.codec import encode
from messages.shapes import Classes, HardSample, Tensor

NODES = 20
WINDOW = 1000
BATCH = 50
MARK = "00000000"


def main(port: int, size: int) -> None:
    """Publish at QoS 1 until killed."""
    packets = [_packet(f"node-{node}", size) for node in range(NODES)]
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02gg")
    link.recv(4)
    sent = acked = shown = 0
    begin = time.perf_counter()
    while True:
        while sent - acked // 4 < WINDOW:
            link.sendall(b"".join(_next(packets[n % NODES], n // NODES) for n in range(sent, sent + BATCH)))
            sent += BATCH
        acked += len(link.recv(65_536))
        if time.perf_counter() - begin >= 1.0:
            print((acked // 4 - shown) / (time.perf_counter() - begin), flush=True)
            begin, shown = time.perf_counter(), acked // 4


def _packet(node: str, size: int) -> tuple[bytes, ...]:
    """A PUBLISH, cut where the number of the sample stands: in the event's id, in `low`'s place, and in its own id."""
    sample = HardSample(
        event_id=f"{node}.{MARK}", timestamp=1, job="bench", sample_id=MARK, reason="bench",
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
    main(int(sys.argv[1]), int(sys.argv[2]))
