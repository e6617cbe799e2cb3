"""A headless Chromium for tests of pages, driven over a pipe by the DevTools protocol; CHROMIUM or PATH names it."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "chromium-headless-shell")
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync --remote-debugging-pipe"


def found() -> str:
    """The browser's path, or nothing."""
    return os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), "")


class Page:
    """One tab. ``events``: what it reported since the last ``open``, such as requests and console messages."""

    def __init__(self, send: int, receive: int) -> None:
        self.out, self.into = os.fdopen(send, "wb"), os.fdopen(receive, "rb")
        self.number, self.rest, self.session = 0, b"", ""
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            data = self.into.read1(1 << 20)
            assert data, "the browser ended"
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, method: str, **given: Any) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": given}
        self.out.write(json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + b"\0")
        self.out.flush()
        while (answer := self._next()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return dict(answer["result"])

    def open(self, path: Path | str, width: int, height: int = 900, media: str = "screen") -> None:
        self.events.clear()
        self.ask("Emulation.setEmulatedMedia", media=media)
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("Page.navigate", url=path if isinstance(path, str) else path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def run(self, script: str) -> Any:
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self, path: Path) -> None:
        data = self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def page(profile: Path) -> Iterator[Page]:
    """A tab of a browser that ends with the block; ``profile``: an empty folder."""
    down, up = os.pipe(), os.pipe()
    command = [found(), *FLAGS.split(), f"--user-data-dir={profile}"]
    wired = ["bash", "-c", f'exec "$@" 3<&{down[0]} 4>&{up[1]}', "bash", *command]
    with subprocess.Popen(wired, pass_fds=(down[0], up[1]), stderr=subprocess.DEVNULL) as process:
        os.close(down[0])
        os.close(up[1])
        try:
            yield Page(down[1], up[0])
        finally:
            process.terminate()


if __name__ == "__main__":  # python tests/browser.py PAGE WIDTH HEIGHT PICTURE [media]
    with page(Path(sys.argv[4] + ".profile")) as tab:
        tab.open(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[5:])
        tab.picture(Path(sys.argv[4]))
