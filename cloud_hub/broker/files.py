"""mosquitto.conf, access rules and passwords, generated: what the hub starts and what a person may copy."""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final, NamedTuple

from cloud_hub.broker.settings import BrokerSettings
from messages.channels import HUB, hub_grants, node_grants

ITERATIONS: Final = 101
"""What mosquitto_passwd uses. A leaked file is protected by long random passwords, not by this."""


class BrokerFiles(NamedTuple):
    """Where the generated files lie."""

    conf: Path
    acl: Path
    passwords: Path


def hash_password(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """PBKDF2 with SHA-512, spelled as mosquitto spells it: `$7$iterations$salt$hash`."""
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    return f"$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def check_password(password: str, hashed: str) -> bool:
    """Whether a password is the one that was hashed by `hash_password`."""
    _, _, iterations, salt, _ = hashed.split("$")
    return hmac.compare_digest(hash_password(password, base64.b64decode(salt), int(iterations)), hashed)


def acl_text(settings: BrokerSettings) -> str:
    """The access rules: the hub hears all and answers all, an app has its jobs, a node (`%u`) its own topics."""
    namespace = settings.namespace
    users = {HUB: hub_grants(namespace)}
    users |= {user: settings.grants_of(app) for user, app in settings.app_users.items()}
    lines = []
    for user, grants in users.items():
        lines += [f"user {user}", *(f"topic {access} {topic}" for topic, access in grants.items()), ""]
    lines += [f"pattern {access} {topic}" for topic, access in node_grants(namespace, "%u").items()]
    return "\n".join(lines) + "\n"


def passwords_text(hashes: dict[str, str]) -> str:
    """One account a line."""
    return "".join(f"{name}:{hashed}\n" for name, hashed in hashes.items())


def conf_text(settings: BrokerSettings, files: BrokerFiles, user: str = "") -> str:
    """mosquitto.conf. `user` keeps a broker that root starts under that name; otherwise it becomes `mosquitto`.

    Packets are bounded before anyone has logged in; queues by bytes, for by number mosquitto drops the newest silently.
    """
    lines = [
        *([f"user {user}"] if user else []),
        "per_listener_settings false",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "persistence false",
        "set_tcp_nodelay true",
        f"max_packet_size {settings.max_packet_bytes}",
        "max_inflight_messages 1000",  # the hub reads on while it commits
        "max_inflight_bytes 33554432",
        "max_queued_messages 1000000",  # 0 (no bound) makes mosquitto 2.0.11 cut the link at every denied publish
        "max_queued_bytes 268435456",
        "max_keepalive 120",
        f"listener {settings.port} {settings.listen}",
    ]
    tls = {"certfile": settings.cert_file, "keyfile": settings.key_file, "cafile": settings.ca_file}
    lines += [f"{option} {path}" for option, path in tls.items() if path]
    if settings.accounts:
        lines += ["allow_anonymous false", "use_username_as_clientid true"]
        lines += [f"password_file {files.passwords}", f"acl_file {files.acl}"]
    else:
        lines += ["allow_anonymous true"]
    return "\n".join(lines) + "\n"


def write_broker_files(settings: BrokerSettings, folder: Path) -> BrokerFiles:
    """Write all three files, readable by their owner only. Raises OSError, ValueError (an empty password file)."""
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    files = BrokerFiles(folder / "mosquitto.conf", folder / "mosquitto.acl", folder / "mosquitto.passwords")
    hashes = {name: hash_password(word, secrets.token_bytes(12)) for name, word in settings.passwords().items()}
    # Debian's mosquitto becomes user `mosquitto` when root starts it, and then could not read these files.
    user = "root" if os.geteuid() == 0 else ""
    _write(files.passwords, passwords_text(hashes))
    _write(files.acl, acl_text(settings))
    _write(files.conf, conf_text(settings, files, user))
    return files


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
