"""What is served: /healthz for whoever restarts the hub, /metrics for Prometheus."""

import asyncio
import hmac
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from aiohttp import web

from cloud_hub.health import Health
from cloud_hub.store import folder as storage
from cloud_hub.web.families import render
from cloud_hub.web.metrics import collect
from messages.host.folder import FolderError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Pages:
    """The handlers. `folder` is where the database lies; it is read beside the hub, never through it."""

    def __init__(self, health: Health, folder: Path, token: str) -> None:
        self._health = health
        self._folder = folder
        self._token = token.encode()

    def application(self) -> web.Application:
        """What aiohttp serves."""
        application = web.Application(middlewares=[self._only_with_token], client_max_size=1024)
        application.add_routes([web.get("/healthz", self._healthz), web.get("/metrics", self._metrics)])
        return application

    async def _healthz(self, _request: web.Request) -> web.Response:
        health = self._health
        problems = health.problems
        body = {"ok": not problems, "problems": problems, "messages": health.messages}
        return web.json_response(body, status=503 if problems else 200)

    async def _metrics(self, _request: web.Request) -> web.Response:
        text = await asyncio.to_thread(self._numbers)
        return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    def _numbers(self) -> str:
        try:
            with closing(storage.reading(self._folder)) as reader:
                return render(collect(reader, self._health))
        except (FolderError, sqlite3.Error) as error:
            raise web.HTTPServiceUnavailable(text=f"{error}\n") from error

    @web.middleware
    async def _only_with_token(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode()
        if self._token and not hmac.compare_digest(given, b"Bearer " + self._token):
            raise web.HTTPUnauthorized(text="send the token as a bearer token\n")
        return await handler(request)
