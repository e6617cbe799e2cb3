"""The routes: OpenAI's and Ollama's chat, what they tell of the model, health, figures, and the page at /."""

import asyncio
import hmac
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from lib.core.task import TaskError
from lib.core.turn import Reply
from lib.runtime.requests import demos, read_row
from lib.serve import writing
from lib.serve.figures import Counted, Figures
from lib.serve.reading import Refused, read_turn, wanted
from lib.serve.service import Service
from lib.serve.writing import answered, encoded, with_ids

BODY = 4 << 20  # bytes
BODY_SECONDS = 20.0
OLLAMA = "0.12.0"  # the version of Ollama's API
PAGE = Path(__file__).with_name("page.html")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
T = TypeVar("T")


async def read_body(request: Request, seconds: float = BODY_SECONDS) -> bytes:
    """Raises Refused for a body that is too large, too slow or cut off."""
    found = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                found += chunk
                if len(found) > BODY:
                    raise Refused(413, f"the body has more than {BODY} bytes: send fewer names or messages")
    except TimeoutError as error:
        raise Refused(408, f"the body did not come within {seconds:g} s") from error
    except ClientDisconnect as error:
        raise Refused(400, "the connection ended within the body") from error
    return bytes(found)


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` returns; it is cancelled when the client goes. Raises what it raises, or Refused."""
    doing, gone = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({doing, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise Refused(499, "the client has gone")
        return doing.result()
    finally:
        doing.cancel()
        gone.cancel()


class Routes:
    """The handlers of one service; ``token``: what requests must bear, if anything."""

    def __init__(self, service: Service, token: str) -> None:
        self.service, self.token, self.figures = service, token, Figures()

    def check(self, request: Request) -> None:
        given = request.headers.get("authorization", "")
        if self.token and not hmac.compare_digest(given.encode("latin-1"), f"Bearer {self.token}".encode()):
            raise Refused(401, "wrong or missing token: send the header Authorization: Bearer TOKEN")

    async def chat(self, request: Request) -> Response:
        ollama, raw = request.url.path.startswith("/api/"), await read_body(request)
        began, body = time.perf_counter(), read_row(raw, "body")
        turn = read_turn(body)
        stream = wanted(body.get("stream"), bool, "stream", ollama)
        usage = wanted(body.get("stream_options"), dict, "stream_options", {}).get("include_usage") is True
        reply, used = await while_connected(request, self.service.queue.run(partial(self.service.answer, turn)))
        larger = self.service.larger if reply.hand_over else None
        found = await while_connected(request, larger.reply(turn, body["model"])) if larger and ollama else None
        passed = await while_connected(request, larger.passed_on(raw, body)) if larger and not ollama else None
        reply = found or reply
        self.figures.replied("handed_over" if found or passed else _kind(reply), time.perf_counter() - began)
        if ollama:
            return writing.ollama(reply, body["model"], used, stream)
        return passed or writing.openai(with_ids(reply), self.service.name, used, stream, usage)

    async def metrics(self) -> Response:
        return Response("\n".join(self.figures.lines(self.service.queue.waiting)), media_type="text/plain")

    async def tried(self, request: Request) -> Response:
        raw = await read_body(request)
        row = await while_connected(request, self.service.queue.run(partial(self.service.tried, raw)))
        return answered(row, 200 if "calls" in row else 400)


def _kind(reply: Reply) -> str:
    return "calls" if reply.calls else "question" if reply.asks else "sentence"


async def refuse(request: Request, error: Exception) -> Response:
    """An error as the protocol of the path writes it."""
    status = error.status if isinstance(error, Refused) else getattr(error, "status_code", 400)
    message = str(getattr(error, "detail", error)) or "no such path"
    if request.url.path.startswith("/api/"):
        return answered({"error": message}, status)
    return answered({"error": {"message": message, "type": "invalid_request_error", "code": status}}, status)


def told(service: Service) -> dict[str, Any]:
    """What the protocols tell of the model, by path; what does not apply to it is empty."""
    name, size, when = service.name, service.size, datetime.fromtimestamp(service.modified, UTC).isoformat()
    details = {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"]}
    row = {"name": name, "model": name, "size": size, "digest": "", "modified_at": when, "details": details}
    listed = {"id": name, "object": "model", "created": int(service.modified), "owned_by": "local"}
    shown = {"capabilities": ["completion", "tools"], "model_info": {"general.name": name}, "template": ""}
    return {
        "/v1/models": {"object": "list", "data": [listed]},
        "/api/tags": {"models": [row]},
        "/api/ps": {"models": [{**row, "size_vram": 0}]},
        "/api/show": {**shown, "modelfile": "", "parameters": "", "details": details},
        "/api/version": {"version": OLLAMA},
        "/examples": demos(service.task),
    }


def _always(body: bytes, kind: str = writing.JSON, **headers: str) -> Callable[[], Coroutine[Any, Any, Response]]:
    async def answer() -> Response:
        return Response(body, media_type=kind, headers=headers)

    return answer


def make_app(service: Service, token: str = "", beside: Any = None) -> FastAPI:
    """The application. With a token, only the page, /health and unknown paths are answered without it.

    ``beside``: a function that makes the context manager to run it in.
    """
    routes = Routes(service, token)
    app, guarded = FastAPI(openapi_url=None, lifespan=beside), APIRouter(dependencies=[Depends(routes.check)])
    app.add_middleware(Counted, figures=routes.figures)
    for kind in (Refused, TaskError, HTTPException):
        app.add_exception_handler(kind, refuse)
    page = _always(PAGE.read_bytes(), "text/html", **{"Content-Security-Policy": POLICY})
    app.add_api_route("/", page, methods=["GET", "HEAD"])
    app.add_api_route("/health", _always(encoded({"status": "ok", "model": service.name})))
    for path, value in told(service).items():
        guarded.add_api_route(path, _always(encoded(value)), methods=["POST" if path == "/api/show" else "GET"])
    guarded.add_api_route("/metrics", routes.metrics)
    posts = {"/v1/chat/completions": routes.chat, "/api/chat": routes.chat, "/try": routes.tried}
    for path, answer in posts.items():
        guarded.add_api_route(path, answer, methods=["POST"])
    app.include_router(guarded)
    return app
