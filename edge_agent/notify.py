"""Tells systemd how the agent is doing (the protocol of sd_notify), where systemd asked for it."""

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends state lines to the service manager; does nothing where there is none."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        interval = environment.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(interval) / 1e6 if self._address and ours and interval.isdigit() else 0.0
        """The service manager wants a sign of life this often (seconds); 0 means not at all."""

    def send(self, *states: str) -> None:
        """Send lines such as "READY=1". A manager that does not listen is not our business."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
                channel.connect(self._address)
                channel.send("\n".join(states).encode())
        except OSError:
            return
