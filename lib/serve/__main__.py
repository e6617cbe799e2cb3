"""Serves a trained student over HTTP to clients of OpenAI's and Ollama's protocols: ``python -m lib.serve``.

The README beside this file says how to point a client at it.
"""

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from lib import tasks
from lib.core.paths import runs
from lib.core.task import TaskError
from lib.runtime.careful import Careful, ask_below, share
from lib.runtime.requests import find_model, open_system
from lib.serve.app import make_app
from lib.serve.service import Larger, Service

CONNECTIONS = 512
LOCAL = ("127.0.0.1", "::1", "localhost")


def wyoming(service: Service, options: argparse.Namespace) -> Any:
    """What is to run beside the application. Raises TaskError, and OSError for a port in use."""
    try:
        from lib.serve.wyoming import HomeAssistant, beside
    except ImportError as error:
        raise TaskError(f'--wyoming: no {error.name}: pip install "super-tiny[serve,wyoming]"') from error
    homes = HomeAssistant(options.home_assistant, os.environ.get("HOME_ASSISTANT_TOKEN", ""), service.intents)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    return partial(beside, service, homes, socket.create_server((options.host, options.wyoming), family=family))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.serve", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="a GGUF, or a folder (default: the deployed model)")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for all of the network (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="(default: %(default)s)")
    parser.add_argument("--larger", help="an OpenAI server for what the model hands over: URL, or MODEL@URL")
    parser.add_argument("--wyoming", type=int, metavar="PORT", help="answer Wyoming's protocol there (usually 10300)")
    url = "http://homeassistant.local:8123"
    parser.add_argument("--home-assistant", default=url, metavar="URL", help="where Wyoming's home is (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    what = "ask before what is sensitive below this confidence; 0: never (default: as measured for the model)"
    parser.add_argument("--ask-below", type=share, metavar="SHARE", help=what)
    options = parser.parse_args(arguments)
    token = os.environ.get("SERVE_TOKEN", "")
    try:
        for name in ("port", "wyoming"):
            if (port := getattr(options, name)) is not None and not 0 < port < 65_536:
                raise ValueError(f"--{name}: {port} is no port, use 1 to 65535")
        larger = Larger(options.larger) if options.larger else None
        path = find_model(options.model, runs())
        system, task = open_system(path, tasks.load, threads=options.threads)
        least = options.ask_below if options.ask_below is not None else ask_below(path)
        service = Service(Careful(system, task, least or 0.0), task, path.stat().st_size, path.stat().st_mtime, larger)
        beside = wyoming(service, options) if options.wyoming else None
    except (ValueError, OSError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 2
    if not token and options.host not in LOCAL:
        print("serve: anyone on the network may use it: set SERVE_TOKEN to ask for a key", file=sys.stderr)
    if least is None and hasattr(task, "sensitive"):
        known = "no threshold was measured for this model (python -m lib.safety)"
        print(
            f"serve: {known}: it never asks before sensitive actions; set --ask-below to change that", file=sys.stderr
        )
    print(f"{service.name} at http://{options.host}:{options.port} (OpenAI: /v1)", flush=True)
    if options.wyoming:
        print(f"Wyoming at tcp://{options.host}:{options.wyoming}", flush=True)
    limits: dict[str, Any] = {"limit_concurrency": CONNECTIONS, "timeout_graceful_shutdown": 5}
    silent: dict[str, Any] = {"log_level": "warning", "access_log": False, "server_header": False, "ws": "none"}
    uvicorn.run(make_app(service, token, beside), host=options.host, port=options.port, **limits, **silent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
