"""A hub that does as a test says: takes samples, and receipts and answers them, or not."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from messages import channels
from messages.bus.protocol import Bus, Incoming, NotConnected
from messages.codec import decode, encode
from messages.shapes import Answer, Classes, Envelope, HardSample, NodeStatus, Receipt, Refusal, Report


class ScriptedHub:
    """Everything that came is kept in order; `receipts` and `answers` switch what goes back."""

    def __init__(self, bus: Bus, *, namespace: str = "default") -> None:
        self.samples: list[HardSample] = []
        self.statuses: list[NodeStatus] = []
        self.reports: list[Report] = []
        self.receipted: list[str] = []
        self.deferred: list[str] = []
        self.receipts = True
        self.answers = True
        self.refuse = ""
        self._bus = bus
        self._namespace = namespace
        self._answered: dict[tuple[str, str, str], str] = {}
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self._bus.__aenter__()
        self._task = asyncio.create_task(self._read(), name="scripted hub")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._bus.__aexit__(kind, error, trace)

    async def until(self, happened: Callable[["ScriptedHub"], object]) -> None:
        """Wait until something is true of what came. Raises TimeoutError after 10 s."""
        async with asyncio.timeout(10.0), self._changed:
            await self._changed.wait_for(lambda: happened(self))

    def send(self, node: str, channel: channels.Channel[Any], payload: bytes, *, retain: bool = False) -> None:
        """Publish any bytes to a node."""
        self._bus.post(channel.topic(self._namespace, node), payload, retain=retain)

    def answer(self, node: str, sample: HardSample) -> None:
        """Answer one sample: surely class 1. Offered again it gets the same answer, under the same id."""
        asked = node, sample.job, sample.sample_id
        name = self._answered.setdefault(asked, f"scripted.{len(self._answered)}")
        answer = Answer(
            event_id=name, timestamp=0, job=sample.job, sample_id=sample.sample_id,
            value=Classes(probs=(0.0, 1.0)), model="big",
        )  # fmt: skip
        self.send(node, channels.DOWN_ANSWER, encode(answer))

    async def _read(self) -> None:
        async for event in self._bus.events():
            if isinstance(event, Incoming):
                self._bus.ack(event)
                self._take(channels.parse(event.topic), event.payload)
                async with self._changed:
                    self._changed.notify_all()

    def _take(self, address: channels.Address, payload: bytes) -> None:
        if address.path == channels.UP_STATUS.path:
            self.statuses.append(decode(NodeStatus, payload))
        elif address.path == channels.UP_RECEIPT.path:
            receipt = decode(Receipt, payload)
            self.receipted += receipt.done
            self.deferred += [later.event_id for later in receipt.later]
        elif address.path == channels.UP_REPORT.path:
            self.reports.append(decode(Report, payload))
            self._receipt(address.node, self.reports[-1])
        elif address.path == channels.UP_SAMPLE.path:
            self.samples.append(decode(HardSample, payload))
            self._receipt(address.node, self.samples[-1])
            if self.answers:
                self.answer(address.node, self.samples[-1])

    def _receipt(self, node: str, message: Envelope) -> None:
        if not self.receipts:
            return
        receipt = Receipt(event_id="r", timestamp=0, done=(message.event_id,), credit=64)
        if self.refuse:
            refused = (Refusal(event_id=message.event_id, reason=self.refuse),)
            receipt = Receipt(event_id="r", timestamp=0, refused=refused, credit=64)
        try:
            self.send(node, channels.DOWN_RECEIPT, encode(receipt))
        except NotConnected:
            return
