"""Finds out for a `doctor` why a broker cannot be used: name, port, TLS, login, topics, a second client."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

from messages.bus.mqtt import MqttBus
from messages.bus.protocol import Connected, Denied, Disconnected, Event, Incoming, NotConnected, PublishDenied
from messages.bus.settings import Endpoint, MqttSettings
from messages.bus.tls import tls_context
from messages.desk.findings import Finding, fail, ok

PATIENCE_S: Final = 5.0
"""How long a broker may take to accept a connection, and to finish a TLS handshake."""

LOGIN_S: Final = 20.0
"""How long it may take to answer a login, both versions of MQTT tried."""

WATCH_S: Final = 3.0
"""For how long a login is watched: a second client with the same id comes back within a second or two."""

_CERTIFICATE: Final = {
    9: ("is not valid yet", "set this machine's clock, or have the broker's certificate made anew"),
    10: ("has expired", "renew the broker's certificate; if it has not, set this machine's clock"),
    62: ("is for another name", "write the name that stands in the certificate into {url}"),
    64: ("is for another address", "write the name that stands in the certificate into {url}"),
}
_UNKNOWN_AUTHORITY: Final = (
    "is signed by nobody that this machine trusts",
    "name the certificate of the authority that signed it in {table}.ca_file",
)


class Post(NamedTuple):
    """A message to publish while the login is watched."""

    topic: str
    payload: bytes


class Client(NamedTuple):
    """Who logs in: the client's id, the name that the broker should know, what it hears, says first and says last."""

    client_id: str
    name: str
    subscriptions: Sequence[str]
    hello: Sequence[Post] = ()
    bye: Sequence[Post] = ()


@dataclass(slots=True)
class Talk:
    """What came of a login. `protocol` is empty when it failed; `ended` says why it failed, or why it was cut later."""

    protocol: str = ""
    ended: str = ""
    denied: list[Denied] = field(default_factory=list)
    heard: list[Incoming] = field(default_factory=list)


def not_tried(program: str) -> Finding:
    """What is said of the link of a program that runs."""
    return ok("link", f"not tried: the {program} runs, and a second login would cut it; stop it to have this checked")


async def login(settings: MqttSettings, url: str, client: Client) -> tuple[list[Finding], Talk]:
    """Go as far as one comes. `url` is the config's key for the address: "mqtt.url"."""
    found, said = await _reach(settings, url), Talk()
    if not found[-1].problem:
        said = await _talk(settings, client)
        found += await _judge(said, settings, url, client.name)
    return found, said


async def _reach(settings: MqttSettings, url: str) -> list[Finding]:
    """Name, port and TLS, up to the first that fails."""
    end = settings.endpoint
    try:
        await asyncio.get_running_loop().getaddrinfo(end.host, end.port, type=socket.SOCK_STREAM)
    except OSError as error:
        said = f"the name {end.host!r} has no address: {error.strerror or error}"
        return [fail("address", said, f"correct {url}, or repair the name service (DNS, /etc/hosts)")]
    found = [ok("address"), await _port(end, url)]
    if end.tls and not found[-1].problem:
        found.append(await _tls(settings, url))
    return found


async def _talk(settings: MqttSettings, client: Client) -> Talk:
    """Log in, say hello, look for a while at what happens, and say goodbye. Nothing that is heard is acknowledged."""
    said = Talk()
    bus = MqttBus(settings, client_id=client.client_id, subscriptions=client.subscriptions, will=None, random=Random())
    async with bus:
        try:
            async with asyncio.timeout(LOGIN_S) as patience:
                async for event in bus.events():
                    _note(said, event)
                    if said.ended:
                        return said
                    if isinstance(event, Connected):
                        patience.reschedule(asyncio.get_running_loop().time() + WATCH_S)
                        await _publish(bus, client.hello, said)
        except TimeoutError:
            if not said.protocol:
                said.ended = f"{settings.endpoint}: takes the connection, and does not answer a login"
        with suppress(NotConnected):
            for post in client.bye:
                bus.post(*post)
    return said


async def _speaks_tls(end: Endpoint) -> bool:
    """Whether TLS is spoken there, whoever it is."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return await _connect(end, context) is None


async def _judge(said: Talk, settings: MqttSettings, url: str, who: str) -> list[Finding]:
    """What a login came to. `who` is the name that the broker should know."""
    if not said.protocol:
        tls = not settings.endpoint.tls and await _speaks_tls(settings.endpoint)
        return [fail("login", said.ended, _login_cure(said.ended, settings, url, needs_tls=tls))]
    found = [ok("login", f"MQTT {said.protocol}")]
    for name in ("subscription", "publish"):
        denied = [item for item in said.denied if item.reason.startswith("subscription") == (name == "subscription")]
        found += [fail(name, f"the broker denies {item.topic}: {item.reason}", _acl_cure(who, url)) for item in denied]
        if not denied and not (said.ended and name == "publish"):
            found.append(ok(name, "" if name == "subscription" or said.protocol == "5" else _SILENT))
    if said.ended:
        twin = f"cut off right after the login, most likely by a second client named {who!r} ({said.ended})"
        found.append(fail("second client", twin, "stop the other program, or give each a name and account of its own"))
    else:
        found.append(ok("second client"))
    return found


_SILENT: Final = "as far as MQTT 3.1.1 tells"


def _login_cure(ended: str, settings: MqttSettings, url: str, *, needs_tls: bool) -> str:
    table = _table(url)
    if "Bad user name" in ended:
        return f"correct {table}.username and the password in {table}.password_file"
    if "Not authorized" in ended and not settings.username:
        return f"this broker wants a login: set {table}.username and {table}.password_file"
    if "Not authorized" in ended:
        return f"correct the password in {table}.password_file, or give {settings.username!r} an account at the broker"
    if needs_tls:
        return f"TLS is spoken there: write mqtts:// in {url}"
    if "client certificate" in ended:
        return f"set {table}.cert_file and {table}.key_file, if it does; else see the broker's log"
    return "see the broker's own log: it says why"


def _table(url: str) -> str:
    """The config's table in which the address stands."""
    return url.rpartition(".")[0]


def _acl_cure(who: str, url: str) -> str:
    login = f"log in as {who!r} ({_table(url)}.username)"
    return f"{login}, or grant it the topic: `cloud-hub broker config` writes such rules"


async def _port(end: Endpoint, url: str) -> Finding:
    error = await _connect(end, None)
    if error is None:
        return ok("broker", str(end))
    if isinstance(error, TimeoutError):
        said, cure = f"{end}: no answer in {PATIENCE_S:g} s", "look for a firewall between, or correct {url}"
    elif isinstance(error, ConnectionRefusedError):
        said, cure = f"{end}: nothing listens there", "start the broker, or correct {url}"
    else:
        said, cure = f"{end}: {error.strerror or error}", "connect this machine to the network, or correct {url}"
    return fail("broker", said, cure.format(url=url, table=_table(url)))


async def _tls(settings: MqttSettings, url: str) -> Finding:
    end = settings.endpoint
    try:
        context = tls_context(settings)
    except (OSError, ValueError) as error:
        return fail("tls", str(error), f"put PEM files into {_table(url)}.ca_file, cert_file and key_file")
    problem = await _connect(end, context)
    if problem is None:
        return ok("tls")
    if isinstance(problem, ssl.SSLCertVerificationError):
        said, cure = _CERTIFICATE.get(problem.verify_code, _UNKNOWN_AUTHORITY)
        words = f"the certificate of {end} {said} ({problem.verify_message})"
        return fail("tls", words, cure.format(url=url, table=_table(url)))
    return fail("tls", f"{end}: no TLS is spoken there", f"write mqtt:// in {url}, or the broker's port for TLS")


async def _connect(end: Endpoint, context: ssl.SSLContext | None) -> OSError | None:
    """What goes wrong when a connection is opened, and closed again; None when nothing does."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            _, writer = await asyncio.open_connection(end.host, end.port, ssl=context)
    except OSError as error:
        return error
    writer.close()
    return None


def _note(said: Talk, event: Event) -> None:
    match event:
        case Connected(protocol):
            said.protocol = protocol
        case Denied():
            said.denied.append(event)
        case Incoming():
            said.heard.append(event)
        case Disconnected(reason):
            said.ended = reason


async def _publish(bus: MqttBus, posts: Sequence[Post], said: Talk) -> None:
    for post in posts:
        try:
            await bus.publish(post.topic, post.payload)
        except PublishDenied as error:
            said.denied.append(Denied(post.topic, str(error).removeprefix(f"topic {post.topic}: ")))
        except NotConnected:
            return  # the next event tells why
