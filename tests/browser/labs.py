"""Pages that are listened to, a JupyterLab to open in them, and how smoothly they play."""

from __future__ import annotations

import json
import secrets
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page


@contextmanager
def watched_page(browser: Browser) -> Iterator[Page]:
    """A fresh page; at its end, nothing may have been complained about in its console or left uncaught."""
    context = browser.new_context(viewport={"width": 1500, "height": 1000}, accept_downloads=True)
    page = context.new_page()
    complaints: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(f"{message.text} ({message.location.get('url')})")

    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert not complaints, "\n".join(complaints)


def frames_a_second(view: Locator) -> float:
    """How often a network view that plays is painted: the best of three times two seconds, since others use the machine too."""
    return max(view.evaluate(_FRAMES) for _ in range(3))


_FRAMES = """async view => {
  const now = () => [Number(view.dataset.frames), performance.now()];
  const [frames, ms] = now();
  await new Promise(done => setTimeout(done, 2000));
  const [later, then] = now();
  return 1000 * (later - frames) / (then - ms);
}"""


@dataclass
class Lab:
    """A JupyterLab server.

    Attributes:
        url: where it answers.
        token: what it wants to hear.
        root: the folder it shows.
        process: the server.
    """

    url: str
    token: str
    root: Path
    process: subprocess.Popen[bytes]

    def api(self, path: str, method: str = "GET") -> Any:
        """Ask the server's REST interface."""
        request = urllib.request.Request(
            f"{self.url}/api/{path}", method=method, headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def open(self, page: Page, notebook: str) -> None:
        """Open a notebook in a workspace of its own, so that nothing of another test's is open, and wait for its kernel."""
        page.goto(f"{self.url}/lab/workspaces/{secrets.token_hex(4)}/tree/{notebook}?token={self.token}")
        page.locator(".jp-Notebook").wait_for(timeout=60_000)
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)

    @staticmethod
    def run_all(page: Page) -> None:
        """Run all cells by the menu, as with the mouse."""
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()

    @contextmanager
    def running(self, browser: Browser, cell: str) -> Iterator[Page]:
        """A notebook of one cell that was told to run; afterwards the notebook and its kernel are gone."""
        others = self.kernels()
        path = self.root / f"{secrets.token_hex(4)}.ipynb"
        kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)"}  # or JupyterLab asks for one
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)], metadata={"kernelspec": kernel}), path)
        try:
            with watched_page(browser) as page:
                self.open(page, path.name)
                self.run_all(page)
                yield page
        finally:
            for session in self.api("sessions"):
                if session["path"] == path.name:
                    self.api(f"sessions/{session['id']}", "DELETE")
            path.unlink()
        _, alive = psutil.wait_procs([kernel for kernel in self.kernels() if kernel not in others], timeout=30)
        assert not alive, f"left behind by the notebook: {alive}"

    def kernels(self) -> list[psutil.Process]:
        """Processes of kernels that are alive."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
