"""The real Flower, as a process of its own on a free port."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from support.mixed import FLEET, Fleet
from support.servers import free_port
from support.wait import until


class Flower:
    """Flower of a fleet's, with its Celery app; `url` is where its pages are."""

    def __init__(self, fleet: Fleet) -> None:
        self.log = fleet.folder / "flower.log"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "fleet", "flower", f"--port={port}", "--address=127.0.0.1"),
                    "--inspect_timeout=5000",
                ],
                cwd=FLEET,
                env={**fleet.environment("celery", {}), "FLOWER_UNAUTHENTICATED_API": "true"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, 60, what=f"Flower to answer, see {self.log}")

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        try:
            return self.page("/healthcheck") == "OK"
        except OSError:
            return False

    def page(self, path: str) -> str:
        """The text of a page, which has to be there."""
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return str(answer.read().decode())

    def get(self, path: str, **query: Any) -> Any:
        """What its API answers."""
        return json.loads(self.page(f"{path}?{urllib.parse.urlencode(query)}"))

    def post(self, path: str, body: Any = None, **form: Any) -> tuple[int, str]:
        """The status and the text of an answer; what its buttons do."""
        data = json.dumps(body) if body is not None else urllib.parse.urlencode(form)
        try:
            with urllib.request.urlopen(self.url + path, data.encode(), timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)
