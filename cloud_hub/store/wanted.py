"""The tables of what nodes should run: for the hub's own transactions, and for commands beside a hub that runs."""

import sqlite3
from collections.abc import Sequence

from msgspec import structs

from cloud_hub.store.protocol import Issued, WantedPolicy

_POLICY = "SELECT job, node, version, digest, document, set_at FROM policies"


class WantedTables:
    """Implements `cloud_hub.store.protocol.Wanted` on any connection to the hub's database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def save_policy(self, wanted: WantedPolicy) -> None:
        sql = "INSERT OR REPLACE INTO policies (job, node, version, digest, document, set_at) VALUES (?, ?, ?, ?, ?, ?)"
        self.connection.execute(sql, structs.astuple(wanted))

    def policies(self) -> Sequence[tuple[str, str, str]]:
        return self.connection.execute("SELECT job, node, digest FROM policies").fetchall()

    def policy(self, job: str, node: str) -> WantedPolicy | None:
        sql = f"{_POLICY} WHERE job = ? AND node IN (?, '') ORDER BY node DESC LIMIT 1"
        found = self.connection.execute(sql, (job, node)).fetchone()
        return None if found is None else WantedPolicy(*found)

    def policy_document(self, digest: str) -> bytes:
        found = self.connection.execute("SELECT document FROM policies WHERE digest = ? LIMIT 1", (digest,)).fetchone()
        return bytes(found[0])

    def policy_mark(self) -> int:
        return int(self.connection.execute("SELECT coalesce(max(id), 0) FROM policies").fetchone()[0])

    def issued(self, node: str) -> Issued | None:
        sql = "SELECT node, epoch, seq, state, fits, refused FROM desired WHERE node = ?"
        found = self.connection.execute(sql, (node,)).fetchone()
        return None if found is None else Issued(*found)

    def save_issued(self, issued: Issued) -> None:
        sql = "INSERT OR REPLACE INTO desired VALUES (?, ?, ?, ?, ?, ?)"
        self.connection.execute(sql, structs.astuple(issued))
