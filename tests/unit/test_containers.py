"""Nodes as services of Compose and as Deployments of Kubernetes: the files, and what the schemas say of them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from multi.errors import ConfigurationError
from multi.nodes.names import NodeName
from multi.nodes.spec import NodeSpec
from multi.units.base import File, Target, UnitFormat
from multi.units.compose import ComposeFormat
from multi.units.kubernetes import KubernetesFormat

FORMATS = [ComposeFormat(), KubernetesFormat()]


def node(name: str, section: str | None = None, app: str | None = "shop.tasks", **more: Any) -> NodeSpec:
    options = {**({"app": app} if app else {}), **more.pop("options", {})}
    values: dict[str, Any] = {"executable": "/srv/shop/venv/bin/python", "cwd": "/srv/shop", **more}
    return NodeSpec(NodeName(name, "host"), options=options, section=section, **values)


def target(**more: Any) -> Target:
    return Target(**{"project": "shop", "host": "host", "multi": "/usr/local/bin/multi", **more})


def rendered(form: UnitFormat, nodes: list[NodeSpec], to: Target | None = None) -> dict[str, File]:
    files = form.render(nodes, to or target())
    assert form.check(files) == []
    return {file.path.rpartition("/")[2]: file for file in files}


def services(nodes: list[NodeSpec], to: Target | None = None) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(rendered(ComposeFormat(), nodes, to)["compose.yaml"].text)["services"]
    return found


def deployment(nodes: list[NodeSpec], to: Target | None = None, name: str = "w.yaml") -> tuple[Any, list[Any]]:
    first, *rest = yaml.safe_load_all(rendered(KubernetesFormat(), nodes, to)[name].text)
    return first, rest


def container(nodes: list[NodeSpec], to: Target | None = None, name: str = "w.yaml") -> dict[str, Any]:
    found: dict[str, Any] = deployment(nodes, to, name)[0]["spec"]["template"]["spec"]["containers"][0]
    return found


def test_nodes_that_are_alike_are_copies_of_one_container() -> None:
    nodes = [node("w1", "w"), node("w2", "w"), node("images", options={"queues": "images"})]
    found = services(nodes)
    assert sorted(found) == ["images", "w"]
    assert (found["w"]["deploy"], "deploy" in found["images"]) == ({"replicas": 2}, False)
    assert found["w"]["command"][:4] == ["multi", "start", "w", "--foreground"]
    assert found["images"]["command"][-2:] == ["-Q", "images"]


def test_nodes_that_differ_are_containers_of_their_own() -> None:
    nodes = [node("w1", "w"), node("w2", "w", options={"concurrency": "8"}), node("celery1"), node("celery2")]
    assert sorted(services(nodes)) == ["celery", "w1", "w2"]


def test_paths_and_interpreter_are_those_of_the_image() -> None:
    nodes = [node("w1", options={"pidfile": "/run/w1.pid", "logfile": "/var/log/w1.log"}, user="shop", nice=5)]
    command = services(nodes)["w1"]["command"]
    assert "--workdir=/app" in command
    assert "--executable=python3" in command
    assert not [word for word in command if "/srv" in word or "/run" in word or "/var" in word or "nice" in word]
    to = target(settings={"directory": "/code", "python": "/venv/bin/python", "image": "registry/shop:7", "uid": "5"})
    found = services(nodes, to)["w1"]
    assert "--workdir=/code" in found["command"]
    assert (found["image"], found["user"]) == ("registry/shop:7", "5")


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({"options": {"time_limit": "1200"}}, 1230),
        ({"policy": {"kill_after": 45.0}}, 45),
        ({}, 630),
        ({"kind": "beat", "engine": "celery"}, 30),
    ],
)
def test_the_time_to_stop_is_that_of_the_longest_task(more: dict[str, Any], seconds: int) -> None:
    assert services([node("w", **more)])["w"]["stop_grace_period"] == f"{seconds}s"
    found, _ = deployment([node("w", **more)])
    assert found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == seconds


def test_a_deployment_has_the_three_probes_and_none_asks_the_broker() -> None:
    found = container([node("w1", "w"), node("w2", "w")])
    assert found["startupProbe"]["exec"]["command"] == ["multi", "probe", "w", "--ready"]
    assert found["readinessProbe"]["exec"]["command"] == ["multi", "probe", "w", "--ready"]
    assert found["livenessProbe"]["exec"]["command"] == ["multi", "probe", "w"]
    assert found["command"][:4] == ["multi", "start", "w", "--foreground"]
    assert found["securityContext"]["readOnlyRootFilesystem"] is True
    assert {mount["mountPath"] for mount in found["volumeMounts"]} == {"/run/multi", "/tmp"}
    assert {"name": "MULTI_STATE_DIR", "value": "/run/multi/state"} in found["env"]


def test_a_group_rolls_without_a_gap_and_is_not_drained_at_once() -> None:
    found, (budget,) = deployment([node("w1", "w"), node("w2", "w")])
    assert found["spec"]["replicas"] == 2
    assert found["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert budget["kind"] == "PodDisruptionBudget"
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"] == found["spec"]["selector"]


def test_a_beat_is_one_and_never_two() -> None:
    beat = node("beat", kind="beat", engine="celery")
    found, rest = deployment([beat], name="beat.yaml")
    assert (found["spec"]["replicas"], found["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert rest == []
    service = services([beat])["beat"]
    assert service["deploy"] == {"replicas": 1, "update_config": {"order": "stop-first"}}
    assert service["command"][-2:] == ["-s", "/run/multi/beat-schedule"], "the image can't be written to"


def test_secrets_stand_in_files_of_their_own() -> None:
    secrets: dict[str, Any] = {
        "options": {"broker": "redis://:geheim@redis:6379/1"},
        "env": {"API_TOKEN": "geheim too", "TZ": "UTC"},
    }
    for form in FORMATS:
        files = rendered(form, [node("w", **secrets)])
        hiding = {name for name, file in files.items() if "geheim" in file.text}
        assert hiding
        assert all(files[name].secret and files[name].mode == 0o600 for name in hiding)
        assert not hiding & {"compose.yaml", "w.yaml"}
    environment = {one["name"]: one for one in container([node("w", **secrets)])["env"]}
    assert environment["TZ"]["value"] == "UTC"
    assert environment["API_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "shop-w", "key": "API_TOKEN"}
    secret = yaml.safe_load(rendered(KubernetesFormat(), [node("w", **secrets)])["w-secret.yaml"].text)
    assert secret["stringData"]["API_TOKEN"] == "geheim too"
    assert secret["stringData"]["MULTI_BROKER_URL"] == "redis://:geheim@redis:6379/1"


def test_hooks_often_hold_a_secret() -> None:
    hooked = node("w", hooks={"crashed": [{"url": "https://chat/hook/geheim"}]})
    assert rendered(ComposeFormat(), [hooked])["compose.yaml"].mode == 0o600
    assert rendered(KubernetesFormat(), [hooked])["w.yaml"].secret


def test_what_the_platforms_would_fill_in_is_left_as_it_is() -> None:
    env = {"A": "x$y$(z) ${Q}", "B": "no", "C": "1:30", "D": 'quote " and \\ and \n line'}
    found = services([node("w", env=env)])["w"]["environment"]
    assert {name: found[name].replace("$$", "$") for name in env} == env
    assert found["A"] == "x$$y$$(z) $${Q}"
    assert {one["name"]: one.get("value") for one in container([node("w", env=env)])["env"]}["A"] == "x$y$$(z) ${Q}"


def test_files_of_variables_are_read_by_the_platform() -> None:
    nodes = [node("w", env_files=["/srv/shop/shop.env", "-/srv/shop/Local.env"])]
    assert services(nodes)["w"]["env_file"] == [
        {"path": "/srv/shop/shop.env", "required": True},
        {"path": "/srv/shop/Local.env", "required": False},
    ]
    assert container(nodes)["envFrom"] == [
        {"secretRef": {"name": "shop-env", "optional": False}},
        {"secretRef": {"name": "local-env", "optional": True}},
    ]
    assert any("--from-env-file=/srv/shop/shop.env" in note for note in KubernetesFormat().notes(nodes, target()))


def test_services_wait_until_what_they_need_is_healthy() -> None:
    nodes = [node("w1", "w"), node("w2", "w"), node("flower", app=None, kind="command", command=["flower"])]
    found = services(nodes, target(after={"flower": ["w1", "w2"]}))
    assert found["flower"]["depends_on"] == {"w": {"condition": "service_healthy"}}


def test_an_image_without_multi_runs_the_nodes_own_program() -> None:
    bare = target(multi=None)
    found = services([node("w", engine="celery")], bare)["w"]
    assert found["command"] == ["python3", "-m", "celery", "-A", "shop.tasks", "worker", "-n", "w@%h"]
    assert found["init"] is True
    assert "healthcheck" not in found
    assert "livenessProbe" not in container([node("w", engine="celery")], bare)


def test_queues_in_redis_make_more_pods() -> None:
    nodes = [node(f"w{n}", "w", options={"broker": "redis://:geheim@redis/2", "queues": "a,b"}) for n in (1, 2)]
    files = rendered(KubernetesFormat(), nodes)
    scaled, authentication, secret = yaml.safe_load_all(files["w-keda.yaml"].text)
    assert files["w-keda.yaml"].secret
    assert (scaled["spec"]["minReplicaCount"], scaled["spec"]["maxReplicaCount"]) == (2, 6)
    assert scaled["spec"]["scaleTargetRef"] == {"name": "shop-w"}
    first, second = scaled["spec"]["triggers"]
    assert first["metadata"] == {
        "address": "redis:6379",
        "listName": "a",
        "listLength": "10",
        "databaseIndex": "2",
    }
    assert second["metadata"]["listName"] == "b"
    (reference,) = authentication["spec"]["secretTargetRef"]
    assert (reference["parameter"], secret["stringData"][reference["key"]]) == ("password", "geheim")
    assert first["authenticationRef"]["name"] == authentication["metadata"]["name"]
    assert reference["name"] == secret["metadata"]["name"]


def test_queues_in_rabbitmq_make_more_pods() -> None:
    to = target(settings={"broker": "amqp://shop:p%40ss@rabbit/shop", "max_replicas": "9", "tasks_per_pod": "3"})
    scaled, _, secret = yaml.safe_load_all(rendered(KubernetesFormat(), [node("w")], to)["w-keda.yaml"].text)
    assert scaled["spec"]["maxReplicaCount"] == 9
    assert scaled["spec"]["triggers"][0]["metadata"] == {
        "protocol": "amqp",
        "queueName": "celery",
        "mode": "QueueLength",
        "value": "3",
    }
    assert secret["stringData"]["host"] == "amqp://shop:p%40ss@rabbit:5672/shop"


def test_what_a_container_can_not_have_is_said() -> None:
    spec = node("w", options={"pidfile": "/run/w.pid"}, user="shop", nice=5, limits={"nofile": 10})
    said = "\n".join(KubernetesFormat().notes([spec, node("f", app=None, command=["/opt/flower"])], target()))
    for part in ("w: pidfile: left out", "w: the user of the container", "/opt/flower is a program of this machine"):
        assert part in said
    assert "limits: left out" in said
    assert services([spec])["w"]["ulimits"] == {"nofile": {"soft": 10, "hard": 10}}


def test_where_nothing_can_be_scaled_it_says_why() -> None:
    form = KubernetesFormat()
    assert "w-keda.yaml" not in rendered(form, [node("w")])
    assert any("nothing says which broker" in note for note in form.notes([node("w")], target()))
    other = [node("w", options={"broker": "sqs://"})]
    assert any("not at sqs" in note for note in form.notes(other, target()))


def test_hardening_is_a_choice() -> None:
    nodes = [node("w")]
    assert "securityContext" not in container(nodes, target(hardening="off"))
    assert "read_only" not in services(nodes, target(hardening="off"))["w"]
    assert services(nodes, target(hardening="strict"))["w"]["pids_limit"] == 1024
    pod = deployment(nodes, target(hardening="strict"))[0]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False


def test_names_that_would_meet_are_refused() -> None:
    for form in FORMATS:
        with pytest.raises(ConfigurationError, match="would both be called w-1"):
            form.render(
                [node("w_1", options={"concurrency": "1"}), node("w-1", options={"concurrency": "2"})], target()
            )
    with pytest.raises(ConfigurationError, match="uid=root: it should be a whole number"):
        KubernetesFormat().render([node("w")], target(settings={"uid": "root"}))


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_the_check_finds_what_the_platform_would_refuse(form: UnitFormat) -> None:
    files = form.render([node("w")], target())
    before, after = {"compose": ("healthcheck:", "healthchek:"), "kubernetes": ("livenessProbe:", "livenesProbe:")}[
        form.name
    ]
    (problem,) = form.check([files[0]._replace(text=files[0].text.replace(before, after))])
    assert after.rstrip(":") in str(problem)
    (problem,) = form.check([files[0]._replace(text="a: [1\n")])
    assert "line 2" in str(problem)
    if form.name == "kubernetes":
        (problem,) = form.check([files[0]._replace(text="apiVersion: v9\nkind: Thing\n")])
        assert "no schema is known" in str(problem)


def test_the_same_nodes_give_the_same_files() -> None:
    nodes = [node("w1", "w", env={"B": "1", "A": "2"}), node("w2", "w", env={"A": "2", "B": "1"})]
    for form in FORMATS:
        assert form.render(nodes, target()) == form.render(nodes, target())
