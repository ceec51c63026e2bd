"""The hub's own broker as it stands in hub.toml: where it listens and who may come in."""

from ipaddress import ip_address
from pathlib import Path

from msgspec import Struct

from messages.channels import HUB, checked


class BrokerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the broker listens, and the accounts that it lets in.

    `accounts` maps a name (`hub`, or a node's) to the file that holds its password. Without accounts anyone on this
    machine may do everything, and another address than loopback is refused. Raises ValueError naming the field.
    """

    listen: str = "127.0.0.1"
    port: int = 1883
    namespace: str = "default"
    accounts: dict[str, str] = {}
    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    max_packet_bytes: int = 1_048_576

    def __post_init__(self) -> None:
        checked(self.namespace, "namespace")
        for name in self.accounts:
            checked(name, "accounts")
        if not 1 <= self.port <= 65_535:
            raise ValueError(f"port {self.port}: use 1 to 65535")
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file belong together: one is missing")
        if not self.loopback and not self.accounts:
            raise ValueError(f"listen {self.listen!r}: other machines can reach it, so it needs accounts")
        if self.accounts and HUB not in self.accounts:
            raise ValueError(f"accounts: {HUB!r} is missing, the account of the hub itself")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the broker."""
        if self.listen == "localhost":
            return True
        try:
            return ip_address(self.listen).is_loopback
        except ValueError:
            return False

    def passwords(self) -> dict[str, str]:
        """The accounts' passwords by name. Raises OSError, and ValueError for no text; both name the file."""
        found = {}
        for name, path in self.accounts.items():
            try:
                found[name] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(f"accounts.{name}: {path}: not UTF-8 text") from error
            if not found[name]:
                raise ValueError(f"accounts.{name}: {path} is empty")
        return found
