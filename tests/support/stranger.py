"""A client with an account and manners of its own: by bare paho it publishes whatever bytes a test likes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from queue import Queue
from typing import TypeVar

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from messages import channels
from messages.channels import Channel
from messages.codec import decode, encode
from messages.shapes import Answer, Envelope, Receipt
from tests.support.brokers import RunningBroker

T = TypeVar("T", bound=Envelope)
Q = TypeVar("Q", str, bytes)
PATIENCE_S = 15.0


class Stranger:
    """Speaks MQTT 5, in a thread of paho's own. What it hears is kept by channel."""

    def __init__(self, account: str, password: str) -> None:
        self.account = account
        self.paho = Client(
            CallbackAPIVersion.VERSION2, account, protocol=MQTTProtocolVersion.MQTTv5, reconnect_on_failure=False
        )
        self.paho.username_pw_set(account, password)
        self._cut: Queue[str] = Queue()
        self._subscribed: Queue[str] = Queue()
        self._confirmed: Queue[str] = Queue()
        self._heard: dict[str, Queue[bytes]] = {}
        down = channels.downlink("default", account)
        self.paho.on_connect = lambda client, *_: client.subscribe(down, 1)
        self.paho.on_subscribe = lambda _c, _d, _mid, codes, _p: self._subscribed.put(str(codes[0]))
        self.paho.on_publish = lambda _c, _d, _mid, code, _p: self._confirmed.put(str(code) if code.is_failure else "")
        self.paho.on_disconnect = lambda _c, _d, _f, code, _p: self._cut.put(str(code))
        self.paho.on_message = lambda _c, _d, got: self._queue(channels.parse(got.topic).path).put(bytes(got.payload))

    async def ready(self) -> None:
        """Wait until the broker has answered to the subscription."""
        await _next(self._subscribed)

    async def cut(self) -> None:
        """Wait until the broker ends the connection."""
        await _next(self._cut)

    async def throw(self, topic: str, payload: bytes, *, retain: bool = False) -> str:
        """Publish; returns why the broker refuses it, empty when it has it."""
        info = self.paho.publish(topic, payload, 1, retain)
        assert info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS, info
        return await _next(self._confirmed)

    async def hear(self, channel: Channel[T]) -> T:
        """The next message on a channel."""
        return decode(channel.shape, await _next(self._queue(channel.path)))

    async def verdict(self, event_id: str) -> str:
        """What the hub's receipt says of a message: `done`, or the reason why it is refused or must wait."""
        while True:
            receipt = await self.hear(channels.DOWN_RECEIPT)
            told = dict.fromkeys(receipt.done, "done")
            told |= {item.event_id: item.reason for item in receipt.refused}
            told |= {item.event_id: item.reason for item in receipt.later}
            if event_id in told:
                return told[event_id]

    async def answer(self) -> Answer:
        """The next answer, receipted."""
        answer = await self.hear(channels.DOWN_ANSWER)
        receipt = Receipt(event_id="r", timestamp=1, done=(answer.event_id,), credit=64)
        assert not await self.throw(channels.UP_RECEIPT.topic("default", self.account), encode(receipt))
        return answer

    def _queue(self, path: str) -> "Queue[bytes]":
        return self._heard.setdefault(path, Queue())


@asynccontextmanager
async def stranger(broker: RunningBroker, account: str) -> AsyncIterator[Stranger]:
    """A client that is connected. The broker cuts whoever was there under the same account."""
    client = Stranger(account, broker.client(account).password() or "")
    client.paho.connect("127.0.0.1", broker.port)
    client.paho.loop_start()
    try:
        await client.ready()
        yield client
    finally:
        client.paho.disconnect()
        await asyncio.to_thread(client.paho.loop_stop)


async def _next(queue: "Queue[Q]") -> Q:
    return await asyncio.to_thread(queue.get, True, PATIENCE_S)
