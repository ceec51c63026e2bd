"""How to reach a broker, as it stands in a config's `[mqtt]` table."""

from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct

from messages.settings.read import Seconds, Word

TLS_FILES = ("ca_file", "cert_file", "key_file")
FILES = ("password_file", *TLS_FILES)
"""The settings that name files."""

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


class Endpoint(NamedTuple):
    """Where a broker listens, and whether TLS is spoken there."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class MqttSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A broker and how to talk to it.

    `url` is "mqtt://host:port" or "mqtts://host:port". The password is in a file of its own, never in the config.
    `protocol` "auto" is MQTT 5 where the broker has it and 3.1.1 where not. `receive_maximum` is how many incoming
    messages may be unacknowledged (the broker keeps to it on MQTT 5). After a lost connection the next try is after
    `retry_first_s`, later ones up to `retry_last_s` apart. Raises ValueError naming the field.
    """

    url: str
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    keepalive_s: Word = 30
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    receive_maximum: Word = 1024
    retry_first_s: Seconds = 1.0
    retry_last_s: Seconds = 60.0

    def __post_init__(self) -> None:
        tls = parse_url(self.url).tls
        if not tls and (self.ca_file or self.cert_file):
            raise ValueError(f"url {self.url!r}: ca_file and cert_file need mqtts://")
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file belong together: one is missing")
        if self.password_file and not self.username:
            raise ValueError("password_file needs a username")
        if self.retry_first_s > self.retry_last_s:
            raise ValueError(f"retry_first_s {self.retry_first_s}: use at most retry_last_s")

    @property
    def endpoint(self) -> Endpoint:
        """Host, port and TLS out of `url`."""
        return parse_url(self.url)

    def password(self) -> str | None:
        """The content of `password_file` without its line end, or None without one.

        Raises OSError, and ValueError for what is no text; both name the file.
        """
        if not self.password_file:
            return None
        try:
            return Path(self.password_file).read_text(encoding="utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"password_file {self.password_file}: not UTF-8 text") from error


def parse_url(url: str) -> Endpoint:
    """Take a broker's URL apart. Raises ValueError naming `url` and what is wrong with it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"url {url!r}: {error}") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError(f"url {url!r}: begin with mqtt:// or mqtts://")
    if "@" in parts.netloc:
        raise ValueError("url: put user and password into username and password_file")
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment or port == 0:
        raise ValueError(f"url {url!r}: use {parts.scheme}://host:port")
    return Endpoint(parts.hostname, port or DEFAULT_PORTS[parts.scheme], parts.scheme == "mqtts")
