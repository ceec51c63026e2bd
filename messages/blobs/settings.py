"""How much room blobs may take and how fast they may leave, as it stands in a config's `[blobs]` table."""

from typing import Annotated

from msgspec import Meta, Struct

from messages.settings.read import Count


class BlobSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All in bytes. `kept` bounds each of the two folders, that of what came and that of what others may fetch.

    `largest` bounds a single blob. `in_flight` is what may be under way to all peers together, `rate` what may leave in
    a second (0: what the line takes). `ca_file` has the authorities for blobs' URLs; without it the system's count.
    """

    kept: Count = 4 << 30
    largest: Count = 2 << 30
    in_flight: Count = 1 << 20
    rate: Annotated[int, Meta(ge=0)] = 0
    ca_file: str = ""
