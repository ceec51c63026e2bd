"""The hub's own broker as it stands in hub.toml: where it listens and who may come in."""

from ipaddress import ip_address
from pathlib import Path
from typing import Final

from msgspec import Struct

from messages.channels import HUB, app_grants, checked
from messages.settings.read import Word

APP_PREFIX: Final = "app@"
"""What an app's user name begins with: so it can never be a node's, whose topics come with its name."""


def loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class AppAccess(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another app that hands in samples for one node's `jobs` (or all of them), and the file with its password."""

    node: str
    jobs: tuple[str, ...] = ()
    password_file: str


class BrokerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the broker listens, and the accounts that it lets in.

    `accounts` maps a name (`hub`, or a node's) to the file that holds its password. Without accounts anyone on this
    machine may do everything, and another address than loopback is refused. `apps` are other programs that may hand in
    samples here; the user name of `apps.camera` is `app@camera`. Raises ValueError naming the field.
    """

    listen: str = "127.0.0.1"
    port: Word = 1883
    namespace: str = "default"
    accounts: dict[str, str] = {}
    apps: dict[str, AppAccess] = {}
    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    max_packet_bytes: int = 1_048_576

    def __post_init__(self) -> None:
        checked(self.namespace, "namespace")
        for name in self.accounts:
            checked(name, "accounts")
        for name, app in self.apps.items():
            checked(name, "apps")
            self.grants_of(app)
        if self.apps and not self.accounts:
            raise ValueError("apps: without accounts anyone on this machine may do everything; name accounts too")
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file belong together: one is missing")
        if not loopback(self.listen) and not self.accounts:
            raise ValueError(f"listen {self.listen!r}: other machines can reach it, so it needs accounts")
        if self.accounts and HUB not in self.accounts:
            raise ValueError(f"accounts: {HUB!r} is missing, the account of the hub itself")

    @property
    def app_users(self) -> dict[str, AppAccess]:
        """The apps by user name."""
        return {APP_PREFIX + name: app for name, app in self.apps.items()}

    def grants_of(self, app: AppAccess) -> dict[str, str]:
        """What the broker lets an app do, by filter: read or write."""
        return app_grants(self.namespace, app.node, app.jobs)

    def passwords(self) -> dict[str, str]:
        """The passwords by user name. Raises OSError, and ValueError for no text; both name the file."""
        found = {name: _password(path, f"accounts.{name}") for name, path in self.accounts.items()}
        apps = {
            user: _password(app.password_file, f"apps.{user.removeprefix(APP_PREFIX)}")
            for user, app in self.app_users.items()
        }
        return found | apps


def _password(path: str, field: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{field}: {path}: not UTF-8 text") from error
    if not text:
        raise ValueError(f"{field}: {path} is empty")
    return text
