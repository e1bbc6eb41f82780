"""What a page does besides being shown: requests, complaints, dialogues, further windows."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page


class Watch:
    """Notes everything that a self-contained page must not do."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self._own = path.as_uri()
        self._seen: list[str] = []
        page.on("request", lambda request: self._request(request.url))
        page.on("websocket", lambda socket: self._seen.append(f"socket {socket.url}"))
        page.on("console", lambda message: self._seen.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self._seen.append(f"error: {error}"))
        page.on("popup", lambda other: self._seen.append(f"window {other.url}"))
        page.on("dialog", lambda dialog: (self._seen.append("dialogue"), dialog.dismiss()))

    def seen(self) -> list[str]:
        return self._seen

    def _request(self, url: str) -> None:
        # a link into the page itself is a request for the same file and a fragment
        if url.partition("#")[0] != self._own:
            self._seen.append(f"request {url}")
