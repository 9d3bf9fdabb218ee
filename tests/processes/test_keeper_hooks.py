"""Programs and webhooks that are told what happens to a node, and can't harm it."""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.nodes import Nodes, kill
from support.wait import until

RECORD = 'cat >> told; echo "$MULTI_EVENT $MULTI_NODE" >> events'


def hook(nodes: Nodes, event: str, script: str = RECORD) -> tuple[str, str]:
    """The option for a hook that runs a script."""
    path = nodes.project.write(f"{event}.sh", script + "\n")
    return "--hook", f"{event}=sh {path}"


def told(nodes: Nodes) -> list[dict[str, Any]]:
    path = nodes.project.path / "told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def events(nodes: Nodes) -> list[str]:
    return [one["event"] for one in told(nodes)]


def test_every_event_reaches_its_program(nodes: Nodes) -> None:
    hooks = [
        word
        for event in ("started", "ready", "crashed", "gave_up", "stopped", "reloaded")
        for word in hook(nodes, event)
    ]
    nodes.start("w1", plan="ready.fragile", more=(*hooks, "--restart-delay", "0.05", "--max-crashes", "2"))
    worker = nodes.worker("w1")
    until(lambda: sorted(events(nodes)) == ["ready", "started"], what="told of the start")
    nodes.run("reload", "w1")
    until(lambda: events(nodes).count("reloaded") == 1, what="told of the reload")
    nodes.nudge("w1")
    until(lambda: events(nodes).count("crashed") == 1 and events(nodes).count("ready") == 3, what="told of the crash")
    nodes.nudge("w1")
    until(lambda: "gave_up" in events(nodes), what="told of the end")
    one = next(one for one in told(nodes) if one["event"] == "started")
    assert (one["node"], one["pid"]) == (nodes.record("w1")["name"], worker)
    crash = next(one for one in told(nodes) if one["event"] == "crashed")
    assert crash["message"] == "the worker has ended: exit status 3"
    assert f"ready {one['node']}" in (nodes.project.path / "events").read_text()
    assert "stopped" not in events(nodes)
    nodes.start("w2", more=tuple(hooks))
    nodes.run("stopwait", "w2")
    until(lambda: "stopped" in events(nodes), what="told of the stop, after its keeper has gone")


def test_its_output_is_in_the_log_and_its_failure_is_told(nodes: Nodes) -> None:
    nodes.start("w1", more=hook(nodes, "ready", "echo the hook speaks; exit 7"))
    until(lambda: "the hook for ready (sh) has failed: exit status 7" in nodes.log("w1"), what="told in the log")
    assert "the hook speaks" in nodes.log("w1")
    nodes.run("stopwait", "w1")
    nodes.start("w1", more=("--hook", "ready=/no/such/program"))
    until(lambda: "the hook '/no/such/program' can't be run: No such file" in nodes.log("w1"), what="told in the log")
    assert nodes.record("w1")["state"] == "running"


def test_a_few_run_at_once_and_none_delays_the_node(nodes: Nodes) -> None:
    script = "echo begun >> begun; while [ ! -e go ]; do sleep 0.02; done"
    more = (*hook(nodes, "crashed", script), "--restart-delay", "0.01", "--max-crashes", "50")
    nodes.start("w1", plan="ready.fragile", more=more)
    for restarts in range(1, 8):
        nodes.nudge("w1")
        until(lambda wanted=restarts: nodes.record("w1")["restarts"] == wanted, what="restarted")  # type: ignore[misc]
        nodes.until_state("w1", "running")
    begun = nodes.project.path / "begun"
    until(lambda: begun.read_text().count("begun") == 4, what="four of them run")
    nodes.project.write("go", "")
    until(lambda: begun.read_text().count("begun") == 7, what="and then the others")


def endless(nodes: Nodes) -> tuple[int, Path]:
    """Start a node with a hook that goes on for ever; its number, and its node's kept specification."""
    script = "echo $$ > pid.part; mv pid.part pid; trap '' TERM; while :; do sleep 0.1; done"
    nodes.start("w1", plan="ready.fragile", more=(*hook(nodes, "crashed", script), "--restart-delay", "0.01"))
    spec = Path(os.path.realpath(nodes.folder("w1") / "spec.json"))
    value = json.loads(spec.read_text())
    value["hooks"]["crashed"][0]["timeout"] = 1
    spec.write_text(json.dumps(value))
    kill(nodes.keeper("w1"))
    nodes.run("status", "w1")
    nodes.nudge("w1")
    pid = nodes.project.path / "pid"
    until(pid.exists, what="it has begun")
    return int(pid.read_text()), spec


def test_a_hook_that_does_not_end_is_ended(nodes: Nodes) -> None:
    number, _ = endless(nodes)
    until(lambda: "the hook for crashed (sh) has failed: it took more than 1 s" in nodes.log("w1"), what="told")
    assert not os.path.exists(f"/proc/{number}")


def test_it_is_ended_too_when_its_keeper_has_gone(nodes: Nodes) -> None:
    number, _ = endless(nodes)
    nodes.run("stopwait", "w1")  # which doesn't wait for it
    until(lambda: not os.path.exists(f"/proc/{number}"), what="it is gone")


class Hooked:
    """A server that webhooks are sent to."""

    def __init__(self, status: int = 204) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((self.path, dict(self.headers), json.loads(body)))
                self.send_response(status)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def hooked() -> Iterator[Hooked]:
    found = Hooked()
    yield found
    found.close()


def test_a_webhook_gets_the_event_and_its_url_is_seen_nowhere(nodes: Nodes, hooked: Hooked) -> None:
    url = f"http://ann:hush@127.0.0.1:{hooked.port}/services/hush"
    nodes.start("w1", more=("--hook", f"ready={url}"))
    until(lambda: hooked.requests, what="it was told")
    path, headers, value = hooked.requests[0]
    assert path == "/services/hush"
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"].startswith("Basic ")
    assert (value["event"], value["node"]) == ("ready", nodes.record("w1")["name"])
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert b"hush" not in process.read_bytes()
        except OSError:
            continue
    assert "hush" not in nodes.log("w1")


def test_a_webhook_that_fails_is_told_without_its_secrets(nodes: Nodes) -> None:
    server = Hooked(status=500)
    try:
        nodes.start("w1", more=("--hook", f"ready=http://127.0.0.1:{server.port}/services/hush"))
        until(lambda: "was not told: it answered 500" in nodes.log("w1"), what="told in the log")
        until(lambda: f"the hook for ready (127.0.0.1:{server.port}) has failed" in nodes.log("w1"), what="told")
    finally:
        server.close()
    nodes.run("reload", "w1")
    until(lambda: "Connection refused" in nodes.log("w1"), what="nobody there")
    assert "hush" not in nodes.log("w1")
    assert nodes.record("w1")["state"] == "running"


def test_hooks_go_on_under_a_new_keeper(nodes: Nodes) -> None:
    nodes.start("w1", more=(*hook(nodes, "crashed"), "--restart-delay", "0.05"))
    kill(nodes.keeper("w1"))
    nodes.run("status", "w1")
    kill(nodes.worker("w1"))
    until(lambda: events(nodes) == ["crashed"], what="told")
