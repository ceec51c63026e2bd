"""A blob's units by HTTPS: faster where a web server has them, and believed as little as any other source."""

import ssl
from collections.abc import Callable, Mapping
from hashlib import sha256
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from messages.blobs.units import Unit, spans

TIMEOUT_S: Final = 20.0
PARTIAL: Final = 206

Keep = Callable[[int, bytes], None]
"""Takes a unit's number and its bytes, which are right."""


def load(url: str, missing: Mapping[int, Unit], keep: Keep, ca_file: str = "") -> str:
    """Get the missing units, in order, by requests for ranges; returns why not all of them came, if so. Blocks.

    Only https, with the server's certificate verified. Redirects are not followed.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            return "only https:// is used"
        tls = ssl.create_default_context(cafile=ca_file or None)
        connection = HTTPSConnection(parts.hostname, parts.port, timeout=TIMEOUT_S, context=tls)
    except (OSError, ValueError) as error:
        return str(error)
    place = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        for begin, end in spans(list(missing.values())):
            units = {number: unit for number, unit in missing.items() if begin <= unit.offset < end}
            connection.request("GET", place or "/", headers={"Range": f"bytes={begin}-{end - 1}"})
            with connection.getresponse() as response:
                _take(response, (begin, end), units, keep)
    except (OSError, HTTPException, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return ""


def _take(response: HTTPResponse, span: tuple[int, int], units: Mapping[int, Unit], keep: Keep) -> None:
    """Read just the bytes of these units. Raises ValueError for other bytes."""
    wanted = f"bytes {span[0]}-{span[1] - 1}/"
    if response.status != PARTIAL or not response.getheader("Content-Range", "").startswith(wanted):
        raise ValueError(f"answers {response.status} {response.reason} to a request for a range")
    for number, unit in units.items():
        data = response.read(unit.length)
        if sha256(data).digest() != unit.digest:
            raise ValueError(f"the bytes at {unit.offset} have another digest")
        keep(number, data)
