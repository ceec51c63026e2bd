"""One connection to a broker, from CONNECT to the end of its socket; `MqttBus` makes a new one each time.

aiomqtt connects, subscribes, disconnects and ties the socket to the event loop. Publishing, acknowledging and receiving
go to its paho client directly: aiomqtt awaits every PUBACK, ignores its reason code and acknowledges on arrival.
"""
# ruff: noqa: SLF001 - paho's client is a private attribute of aiomqtt's, and there is no other way to these three verbs

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.client import Client as Paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from messages.bus.mqtt_client import Client
from messages.bus.protocol import Denied, Event, Incoming, NotConnected, PublishDenied, Will
from messages.bus.settings import MqttSettings
from messages.bus.tls import tls_context

CONNECT_TIMEOUT_S: Final = 10.0
ANSWER_TO_5_S: Final = 3.0
"""A broker that does not know MQTT 5 may misread its CONNECT and wait for more (amqtt does): then 3.1.1 is tried."""
MAX_INFLIGHT: Final = 256
"""How many publishes may wait for their PUBACK where the broker allows more."""
INFLIGHT_311: Final = 100
"""The same where it cannot say how many it allows: what the strictest public brokers take."""
HEADER_BYTES: Final = 16
"""More than what MQTT puts in front of topic and payload."""
READS_PER_TURN: Final = 64
"""How many packets are read before other tasks have their turn."""
UNSUPPORTED_PROTOCOL: Final = 0x84
REFUSALS: Final = frozenset({0x85, 0x86, 0x87, 0x8A, 0x8C})
"""CONNACK codes that a person has to look at: client id, password, authorisation, ban, authentication method."""


class ConnectFailed(Exception):
    """No connection. `refused`: a person should look. `other_protocol`: what the broker may speak instead of MQTT 5.

    `for_good`: the broker said so itself. One that only closes the socket may just be starting, so it is asked again.
    """

    def __init__(self, reason: str, *, refused: bool = False, other_protocol: str = "", for_good: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused
        self.other_protocol = other_protocol
        self.for_good = for_good


class Connection:
    """A clean session that ends with its socket. `protocol` is "5" or "3.1.1"."""

    def __init__(self, settings: MqttSettings, client_id: str, will: Will | None, *, protocol: str) -> None:
        self.protocol = protocol
        self._settings = settings
        self._client_id = client_id
        self._will = will
        self._early: list[Event] = []
        self._emit: Callable[[Event], None] = self._early.append
        self._pending: dict[int, tuple[str, asyncio.Future[None] | None]] = {}
        self._flushed: asyncio.Future[None] | None = None
        self._acked = 0
        self._unacknowledged: set[int] = set()
        self._allowed = 0xFFFF
        self._paused = False
        self._max_packet = 0
        self._closed_early = False
        self._answered = False

    async def open(self, subscriptions: Sequence[str]) -> list[Denied]:
        """Connect and subscribe; the answer is what the broker denied. Raises ConnectFailed."""
        try:
            self._client = self._make_client()
        except (OSError, ValueError) as error:
            raise ConnectFailed(f"cannot prepare the connection: {error}", refused=True) from None
        self._paho: Paho = self._client._client
        self._hook()
        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
                await self._client.__aenter__()
                self._take_socket()
                return await self._subscribe(subscriptions)
        except (aiomqtt.MqttError, TimeoutError) as error:
            self.abort()
            raise self._explained(error) from None
        except asyncio.CancelledError:
            self._forget()
            raise

    def _make_client(self) -> Client:
        settings, end = self._settings, self._settings.endpoint
        five = self.protocol == "5"
        properties = None
        if five:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.ReceiveMaximum = settings.receive_maximum
        return Client(
            end.host,
            end.port,
            identifier=self._client_id,
            username=settings.username or None,
            password=settings.password(),
            protocol=aiomqtt.ProtocolVersion.V5 if five else aiomqtt.ProtocolVersion.V311,
            will=aiomqtt.Will(self._will.topic, self._will.payload, 1, self._will.retain) if self._will else None,
            clean_session=None if five else True,
            clean_start=True if five else MQTT_CLEAN_START_FIRST_ONLY,
            keepalive=settings.keepalive_s,
            timeout=ANSWER_TO_5_S if five and settings.protocol == "auto" else CONNECT_TIMEOUT_S,
            properties=properties,
            tls_context=tls_context(settings) if end.tls else None,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            max_queued_outgoing_messages=0,
            max_inflight_messages=INFLIGHT_311,
        )

    def _hook(self) -> None:
        self._paho.manual_ack_set(True)
        self._paho.disable_logger()
        self._paho.on_connect = self._on_connect
        self._paho.on_disconnect = self._on_disconnect
        self._paho.on_message = self._on_message
        self._paho.on_publish = self._on_publish

    async def _subscribe(self, subscriptions: Sequence[str]) -> list[Denied]:
        if not subscriptions:
            return []
        codes = await self._client.subscribe([(topic, 1) for topic in subscriptions])
        pairs = zip(subscriptions, codes, strict=True)
        return [Denied(topic, f"subscription: {code}") for topic, code in pairs if _value(code) >= 0x80]

    def start(self, emit: Callable[[Event], None]) -> None:
        """Hand events to `emit` from now on, first of all what came in before the subscriptions were confirmed."""
        self._emit = emit
        self._allowed = self._settings.receive_maximum
        for event in self._early:
            emit(event)

    def send(self, topic: str, payload: bytes, retain: bool, done: asyncio.Future[None] | None) -> None:  # noqa: FBT001
        """Queue one publish at QoS 1. `done` gets the outcome; without one a denial becomes an event."""
        if self._max_packet and len(payload) + len(topic.encode()) + HEADER_BYTES > self._max_packet:
            self._deny(topic, f"{len(payload)} bytes, and the broker takes packets of {self._max_packet}", done)
            return
        info = self._paho.publish(topic, payload, 1, retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise NotConnected(f"topic {topic}: {info.rc.name}")
        self._pending[info.mid] = (topic, done)

    def ack(self, mid: int) -> None:
        """Acknowledge one incoming message of this connection, once."""
        if mid not in self._unacknowledged:
            return
        self._unacknowledged.remove(mid)
        self._paho.ack(mid, 1)
        sock = self._paho.socket() if self._paused else None
        if sock is not None and len(self._unacknowledged) <= self._allowed:
            self._paused = False
            asyncio.get_running_loop().add_reader(sock.fileno(), self._read)
            asyncio.get_running_loop().call_soon(self._read)  # what TLS has decrypted makes no socket readable

    async def lost(self) -> str:
        """Wait for the end of the connection and say why. A broker that stops acknowledging is the end too."""
        ended: asyncio.Future[None] = self._client._disconnected
        while not ended.done():
            acked, waiting = self._acked, bool(self._pending)
            await asyncio.wait({ended}, timeout=self._settings.keepalive_s)
            if waiting and self._pending and acked == self._acked and not ended.done():
                self.abort()
                return f"no acknowledgement from {self._settings.endpoint} for {self._settings.keepalive_s} s"
        return f"{self._settings.endpoint}: {ended.exception() or 'disconnected'}"

    async def close(self, flush_s: float) -> None:
        """Give what was sent `flush_s` seconds to be acknowledged, then disconnect so that no will is published."""
        ended: asyncio.Future[None] = self._client._disconnected
        if self._pending and not ended.done():
            self._flushed = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._flushed, ended}, timeout=flush_s, return_when=asyncio.FIRST_COMPLETED)
        try:
            async with asyncio.timeout(0.5):
                await self._client.__aexit__(None, None, None)
        except (aiomqtt.MqttError, TimeoutError):
            pass
        self.abort()

    def abort(self) -> None:
        """Close the socket at once, without DISCONNECT, and fail what waits for a PUBACK."""
        self._paho._sock_close()
        pending, self._pending = self._pending, {}
        for topic, done in pending.values():
            if done is not None and not done.done():
                done.set_exception(NotConnected(f"topic {topic}: the connection ended before the broker confirmed"))

    def _forget(self) -> None:
        # The thread that connects cannot be stopped: whatever it opens later must not reach the event loop.
        self._paho.on_socket_open = None
        self._paho.on_socket_register_write = lambda _paho, _data, _sock: None
        self._paho._sock_close()

    def _take_socket(self) -> None:
        # aiomqtt reads one packet per turn of the event loop and registers writers through a thread-safe detour.
        loop = asyncio.get_running_loop()
        sock = self._paho.socket()
        if sock is None:
            raise aiomqtt.MqttError("the broker closed the connection")
        loop.add_reader(sock.fileno(), self._read)
        self._paho.on_socket_register_write = lambda _paho, _data, sock: loop.add_writer(sock.fileno(), self._write)
        if self._paho.want_write():
            loop.add_writer(sock.fileno(), self._write)

    def _read(self) -> None:
        # Not loop_read: it takes as many packets at once as wait to be sent, and does not tell when there are no more.
        for _ in range(READS_PER_TURN):
            sock = self._paho.socket()
            if sock is None or self._paused:
                return
            if len(self._unacknowledged) > self._allowed:  # mosquitto 2.0.11 sends a whole window for every PUBACK
                self._paused = True
                asyncio.get_running_loop().remove_reader(sock.fileno())
                return
            code = self._paho._packet_read()
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                if code != MQTTErrorCode.MQTT_ERR_AGAIN:
                    self._paho._loop_rc_handle(code)
                return
        if getattr(sock, "pending", int)():
            asyncio.get_running_loop().call_soon(self._read)

    def _write(self) -> None:
        self._paho.loop_write()

    def _on_connect(
        self, paho: Paho, data: Any, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self._answered = True
        if not code.is_failure:
            allowed = getattr(properties, "ReceiveMaximum", MAX_INFLIGHT if self.protocol == "5" else INFLIGHT_311)
            paho._max_inflight_messages = min(allowed, MAX_INFLIGHT)  # the setter is for unconnected clients
            self._max_packet = getattr(properties, "MaximumPacketSize", 0)
        self._client._on_connect(paho, data, flags, code, properties)

    def _on_disconnect(
        self, paho: Paho, data: Any, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        connected = self._client._connected
        if not connected.done():  # aiomqtt would wait for its timeout
            self._closed_early = True
            connected.set_exception(aiomqtt.MqttError("closed the connection instead of an answer"))
        self._client._on_disconnect(paho, data, flags, code, properties)

    def _on_message(self, _paho: Paho, _data: Any, message: MQTTMessage) -> None:
        token = None
        if message.qos:
            token = (self, message.mid)
            self._unacknowledged.add(message.mid)
        self._emit(Incoming(message.topic, bytes(message.payload), message.retain, token))

    def _on_publish(self, _paho: Paho, _data: Any, mid: int, code: ReasonCode, _properties: Properties) -> None:
        self._acked += 1
        entry = self._pending.pop(mid, None)
        if entry is None:
            return
        topic, done = entry
        if code.value >= 0x80:
            self._deny(topic, str(code), done)
        elif done is not None and not done.done():
            done.set_result(None)
        if self._flushed is not None and not self._pending and not self._flushed.done():
            self._flushed.set_result(None)

    def _deny(self, topic: str, reason: str, done: asyncio.Future[None] | None) -> None:
        if done is None:
            self._emit(Denied(topic, reason))
        elif not done.done():
            done.set_exception(PublishDenied(f"topic {topic}: {reason}"))

    def _explained(self, error: Exception) -> ConnectFailed:
        """Say what a person can do about it: user, host and port are named."""
        end, code, cause = self._settings.endpoint, getattr(error, "rc", None), error.__context__
        who = f"{self._settings.username}@{end}" if self._settings.username else str(end)
        if isinstance(code, ReasonCode):
            other = "3.1.1" if code.value == UNSUPPORTED_PROTOCOL and self.protocol == "5" else ""
            return ConnectFailed(f"{who}: {code}", refused=code.value in REFUSALS, other_protocol=other, for_good=True)
        if self._closed_early:
            other = "3.1.1" if self.protocol == "5" else ""
            hint = " (over TLS: does it want a client certificate?)" if end.tls else ""
            return ConnectFailed(f"{who}: the broker {error}{hint}", other_protocol=other)
        if self.protocol == "5" and not self._answered and "Operation timed out" in str(error):  # aiomqtt's own words
            return ConnectFailed(f"{who}: no answer", other_protocol="3.1.1", for_good=True)
        refused = isinstance(cause, ssl.SSLError) or getattr(cause, "errno", None) == socket.EAI_NONAME
        return ConnectFailed(f"{who}: {error or 'timed out'}", refused=refused)


def _value(code: object) -> int:
    return code.value if isinstance(code, ReasonCode) else int(str(code))
