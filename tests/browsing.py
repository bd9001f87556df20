"""A real browser for tests: Chromium of the system, driven by Playwright; nothing but this machine is reached."""

import os
import shutil
from contextlib import contextmanager

import pytest

ARGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]
LOCAL = ("http://127.0.0.1:", "ws://127.0.0.1:", "file:", "data:", "blob:", "about:")


@contextmanager
def chromium(profile):
    """A browser with a fresh profile folder, as a Playwright context; skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api")
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        pytest.skip("needs Chromium (apt-get install chromium), or its path in CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(str(profile), executable_path=found, args=ARGS)
        try:
            yield context
        finally:
            context.close()


class Watched:
    """A page whose complaints and requests are written down; requests that leave the machine are stopped."""

    def __init__(self, context, width=1300, height=900):
        self.page = context.new_page()
        self.page.set_default_timeout(120_000)  # ms: pages of many formulas on a busy machine
        self.page.set_viewport_size({"width": width, "height": height})
        self.complaints, self.left, self.failed = [], [], []
        self.page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", lambda answer: answer.status >= 400 and self.failed.append(answer.url))
        self.page.on("requestfailed", lambda request: self.failed.append(request.url))
        self.page.route("**/*", self._route)

    def _route(self, route):
        if route.request.url.startswith(LOCAL):
            route.continue_()
        else:
            self.left.append(route.request.url)
            route.abort()

    def wide(self):
        """By how many pixels the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
