"""What a node says of itself: receipts, its state, and its counters. The next one repairs a lost one."""

from typing import Any, Literal

from edge_agent.core.counters import Counters
from edge_agent.core.exchange import NodeOptions, Post
from messages import channels
from messages.channels import HUB
from messages.codec import encode, encode_body
from messages.delivery.rows import Draft, Kind, Totals
from messages.shapes import NodeStatus, Receipt, Report


class Replies:
    """Writes them, each under an id of its own."""

    def __init__(self, stream: str, options: NodeOptions) -> None:
        self._stream = stream
        self._options = options
        self._number = 0

    def receipt(self, at: int, **ids: Any) -> Post:
        """A receipt for the hub: `ids` are its fields done, refused and later."""
        receipt = Receipt(event_id=self._draw(), timestamp=at, credit=self._options.pace.window, **ids)
        return Post(channels.UP_RECEIPT.path, encode(receipt, self._options.form))

    def status(self, state: Literal["online", "offline"], at: int, backlog: Totals, **fields: Any) -> Post:
        """The node's state; `fields` are the others of NodeStatus."""
        status = NodeStatus(
            event_id=self._draw(), timestamp=at, state=state, beat_s=self._options.beat_s, backlog_rows=backlog.rows,
            backlog_bytes=backlog.bytes, version=self._options.version, **fields,
        )  # fmt: skip
        return Post(channels.UP_STATUS.path, encode(status, self._options.form), retain=True)

    def report(self, job: str, counters: Counters, session: int, *, now: float, at: int) -> Draft:
        """A job's counters, for the outbox."""
        report = Report(event_id="", timestamp=at, job=job, session=session, **counters.told())
        return Draft(
            peer=HUB, path=channels.UP_REPORT.path, job=job, kind=Kind.REPORT, slot="counters", created=now,
            body=encode_body(report, self._options.form),
        )  # fmt: skip

    def _draw(self) -> str:
        self._number += 1
        return f"{self._stream}-r.{self._number}"
