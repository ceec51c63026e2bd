"""Serves the hub's pages over HTTP, where a port is named."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cloud_hub.config import HttpSettings
from cloud_hub.health import Health


class WebError(Exception):
    """The address cannot be served on. The text names it."""


@asynccontextmanager
async def serving(settings: HttpSettings, health: Health, folder: Path) -> AsyncIterator[None]:
    """Serve while the block runs; nothing at all with port 0. Raises WebError."""
    if not settings.port:
        yield
        return
    from aiohttp import web  # with the pages it takes 300 ms to import, for nothing where no port is named

    from cloud_hub.web.pages import Pages

    runner = web.AppRunner(Pages(health, folder, _token(settings)).application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
        except OSError as error:
            raise WebError(f"http {settings.host}:{settings.port}: {error.strerror}") from error
        yield
    finally:
        await runner.cleanup()


def _token(settings: HttpSettings) -> str:
    if not settings.token_file:
        return ""
    try:
        token = Path(settings.token_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WebError(f"http.token_file: {settings.token_file}: {error}") from error
    if not token:
        raise WebError(f"http.token_file: {settings.token_file} is empty")
    return token
