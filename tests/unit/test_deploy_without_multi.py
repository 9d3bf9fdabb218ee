"""Hosts without multi: whether a release works there is asked of Celery, and where it can't be, that is said."""

from __future__ import annotations

import json

import pytest
from support.deploys import TOML, Fleet, fresh, release

from multi.deploy.base import Result
from multi.deploy.connections.simulation import Fault
from multi.deploy.rollout.answering import MARK
from multi.deploy.rollout.report import DONE, REVERTED

OLD = TOML.replace('"app[1:4]"', "app1").replace(
    "[deploy]", '[deploy]\nagentless = true\ninstaller = "none"\npython = "/opt/python"\nhealthy_deadline = "0.3s"'
)
CELERY = OLD + 'engine = "celery"\n'
SUPERVISED = {"systemd": None, "supervisord": "4.2.5", "supervisor_dir": "/etc/supervisor/conf.d"}
GOOD = ".multi/good/"


def answers(times: int | None = None, **told: object) -> Fault:
    return Fault("/opt/python -", "", Result(0, MARK + json.dumps(told)), times)


@pytest.mark.parametrize("manager", [{}, SUPERVISED], ids=["systemd", "supervisord"])
def test_a_release_whose_workers_live_and_do_not_answer_goes_back(manager: dict[str, object]) -> None:
    fleet = Fleet(CELERY, fresh("app1", **manager))
    report = fleet.report(release(has_multi=False))
    assert report.hosts["app1"].state == DONE
    assert report.hosts["app1"].unseen == {}
    assert any(GOOD in line for line in fleet.of("app1"))
    report = fleet.report(release("2", has_multi=False), [answers(answered=[], said="no broker")])
    assert report.hosts["app1"].state == REVERTED
    reason = "not healthy after 0.3 s: w1 running, but not answering Celery's ping: no broker"
    assert report.hosts["app1"].reason == reason
    assert not any("restart w2" in line for line in fleet.of("app1"))
    assert fleet.facts["app1"].current == "r1"
    assert not any("good/r2" in line for line in fleet.of("app1"))


def test_workers_may_answer_later() -> None:
    fleet = Fleet(CELERY.replace("0.3s", "20s"), fresh("app1"))
    report = fleet.report(release(has_multi=False), [answers(1, answered=[])])
    assert report.ok
    assert "app1 waiting: w1 running, but not answering Celery's ping" in fleet.said


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (Result(0, MARK + '{"cannot": "worker_enable_remote_control is off"}'), "worker_enable_remote_control is off"),
        (Result(127, "", "sh: /opt/python: not found"), "/opt/python can't ask: sh: /opt/python: not found"),
    ],
    ids=["switched off", "no interpreter"],
)
def test_where_workers_can_not_be_asked_the_report_says_so_and_the_release_is_not_called_good(
    told: Result, reason: str
) -> None:
    fleet = Fleet(CELERY.replace("0.3s", "20s"), fresh("app1"))
    fault = Fault("/opt/python -", "", told, None)
    report = fleet.report(release(has_multi=False), [fault])
    assert report.ok
    (line,) = report.hosts["app1"].warnings
    assert f"only that their processes live (w1, w2: {reason})" in line
    assert line.endswith("the release is not noted as good by that: give a health_command")
    assert not any(GOOD in line for line in fleet.of("app1"))
    fleet = Fleet(CELERY.replace('"0.3s"', '"20s"\nhealth_command = "true"'), fresh("app1"))
    report = fleet.report(release(has_multi=False), [fault])
    assert report.ok
    assert not report.hosts["app1"].warnings[0].endswith("health_command")
    assert any(GOOD in line for line in fleet.of("app1"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ('pool = "solo"', "a worker with the pool solo answers nothing while a task runs"),
        ('kind = "beat"', "a beat answers nothing"),
    ],
)
def test_what_can_never_be_asked_is_told_by_the_plan(words: str, reason: str) -> None:
    text = CELERY.replace("count = 2", words)
    fleet = Fleet(text, fresh("app1"))
    plan = fleet.plan(release(has_multi=False))
    (note,) = plan.hosts["app1"].notes
    assert f"({next(iter(fleet.inventory.description.nodes)).name}: {reason})" in note
    assert not [step for step in plan.hosts["app1"].steps if "is good" in step.title]
    report = fleet.report(release(has_multi=False))
    assert report.hosts["app1"].state == DONE
    assert not any("/opt/python -" in line or GOOD in line for line in fleet.of("app1"))
    assert not fleet.plan(release(has_multi=False)).hosts["app1"].notes
