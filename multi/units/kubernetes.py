"""Nodes as Deployments of Kubernetes, with what keeps enough of them running and what makes more of them when queues grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from multi.errors import ConfigurationError
from multi.units import containers, programs, yamls
from multi.units.base import ERROR, File, Problem, Target, UnitFormat
from multi.units.containers import Container, Group
from multi.urls import Url, parse, split

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec

_REDIS = ("redis", "rediss")
_AMQP = ("amqp", "amqps", "pyamqp")
#: So many waiting tasks make one more pod.
_PER_POD = 10


class Trigger(NamedTuple):
    """What KEDA looks at: one queue."""

    type: str
    metadata: dict[str, str]
    needs_secret: bool


class Scaling(NamedTuple):
    """By how much a group may grow, and upon what."""

    container: Container
    fewest: int
    most: int
    triggers: list[Trigger]
    secret: dict[str, str]  # what KEDA needs and nobody is to read: parameter → value


class KubernetesFormat(UnitFormat):
    """One Deployment per group of nodes that are alike. Scaling stands in a file of its own, since it needs KEDA."""

    name = "kubernetes"
    templates = ("kubernetes/deployment.yaml.j2", "kubernetes/secret.yaml.j2", "kubernetes/keda.yaml.j2")
    settings: Mapping[str, str] = {
        **containers.SETTINGS,
        "namespace": "the namespace (that of whoever applies the files)",
        "uid": "the number of the user in the container (1000)",
        "cpu": "what a pod asks for (100m)",
        "memory": "what a pod asks for (256Mi)",
        "broker": "the broker's URL, where nothing else says it; for scaling",
        "max_replicas": "the most pods of a group that scales (three times its count)",
        "tasks_per_pod": f"so many waiting tasks make one more pod ({_PER_POD})",
    }

    def render(self, nodes: Sequence[NodeSpec], target: Target) -> list[File]:
        groups = containers.groups(nodes, target)
        folder = target.unit_dir or f"/etc/multi/{containers.slug(target.project)}"
        files = []
        scalings = []
        for group in groups:
            container = containers.container(group, target)
            files += self._of_group(group, container, folder, target)
            if (scaling := _scaling(group, container, target)) is not None:
                scalings.append(scaling)
        for scaling in scalings:
            values = {**self._values(scaling.container, target), "scaling": scaling}
            name = containers.slug(scaling.container.name)
            text = self.text(target).filled("kubernetes/keda.yaml.j2", values, yaml=yamls.quoted)
            secret = bool(scaling.secret)
            why = f"more pods of {scaling.container.name} when its queues grow (needs KEDA)"
            mode = 0o600 if secret else 0o644
            files.append(
                File(f"{folder}/{name}-keda.yaml", text, mode, secret=secret, why=why, nodes=scaling.container.nodes)
            )
        return files

    def _of_group(self, group: Group, container: Container, folder: str, target: Target) -> list[File]:
        name, values = containers.slug(group.name), self._values(container, target)
        text = self.text(target).filled("kubernetes/deployment.yaml.j2", values, yaml=yamls.quoted, literal=_literal)
        private = programs.has_secret_words(group.spec)
        mode = 0o600 if private else 0o644
        files = [
            File(
                f"{folder}/{name}.yaml", text, mode, secret=private, why=f"the pods of {group.name}", nodes=group.shorts
            )
        ]
        if container.secret:
            text = self.text(target).filled("kubernetes/secret.yaml.j2", values, yaml=yamls.quoted)
            why = f"the secrets of {group.name}"
            files.insert(0, File(f"{folder}/{name}-secret.yaml", text, 0o600, secret=True, why=why, nodes=group.shorts))
        return files

    def _values(self, container: Container, target: Target) -> dict[str, Any]:
        settings = target.settings
        name = f"{containers.slug(target.project)}-{containers.slug(container.name)}"
        if len(name) > 63:
            raise ConfigurationError(
                f"{name}: a name in Kubernetes has at most 63 characters; shorten the project's name"
            )
        return {
            "target": target,
            "group": container,
            "name": name,
            "project": containers.slug(target.project),
            "component": containers.slug(container.name),
            "namespace": settings.get("namespace", ""),
            "image": containers.image(target),
            "uid": _number(settings, "uid", 1000),
            "cpu": settings.get("cpu", "100m"),
            "memory": settings.get("memory", "256Mi"),
            "run": containers.RUN,
            "env_secrets": [(env_secret(path), missing) for path, missing in container.env_files],
        }

    def check(self, files: Sequence[File]) -> list[Problem]:
        if missing := yamls.missing_tools(files):
            return missing
        found = []
        known = [yamls.schema("kubernetes"), yamls.schema("keda")]
        for file in files:
            try:
                for line, value in yamls.documents(file):
                    found += _check(value, known, file.path, line)
            except ValueError as error:
                found.append(Problem(file.path, str(error), ERROR))
        return found

    def notes(self, nodes: Sequence[NodeSpec], target: Target) -> list[str]:
        found = containers.notes(nodes, target)
        for group in containers.groups(nodes, target):
            for path in group.nodes[0].env_files:
                plain = path.removeprefix("-")
                found.append(
                    f"{group.name}: {plain} is a file of this machine; put it into the cluster: "
                    f"kubectl create secret generic {env_secret(plain)} --from-env-file={plain}"
                )
            if group.spec.kind == "worker" and not group.spec.singleton and _scaling_why(group.spec, target):
                found.append(f"{group.name}: no ScaledObject: {_scaling_why(group.spec, target)}")
            if group.nodes[0].limits:
                found.append(f"{group.name}: limits: left out; Kubernetes has none of single processes")
        return found

    def units(self, nodes: Sequence[NodeSpec], target: Target) -> dict[str, str]:
        project, homes = containers.slug(target.project), containers.homes(nodes, target)
        return {node.name.short: f"deployment/{project}-{containers.slug(homes[node.name.short])}" for node in nodes}


def env_secret(path: str) -> str:
    """The name of the Secret that a file of variables becomes."""
    return containers.slug(path.rstrip("/").rpartition("/")[2])


def _literal(value: Any) -> Any:
    """The same with its $( doubled: Kubernetes fills in variables there."""
    if isinstance(value, list):
        return [_literal(one) for one in value]
    return value.replace("$(", "$$(") if isinstance(value, str) else value


def _number(settings: Any, name: str, otherwise: int) -> int:
    given = str(settings.get(name) or otherwise)
    if not given.isdecimal() or not int(given):
        raise ConfigurationError(f"{name}={given}: it should be a whole number from 1 on")
    return int(given)


def _check(value: Any, known: list[dict[str, Any]], path: str, line: int) -> list[Problem]:
    if not isinstance(value, dict):
        return [Problem(path, "a document should be a table with apiVersion and kind", ERROR, line)]
    what = f"{value.get('apiVersion')}/{value.get('kind')}"
    for schema in known:
        if what in schema["kinds"]:
            return yamls.against(value, {**schema["kinds"][what], "$defs": schema["$defs"]}, path, line)
    listed = ", ".join(sorted(kind for schema in known for kind in schema["kinds"]))
    return [Problem(path, f"{what}: no schema is known for this; known are {listed}", ERROR, line)]


# ---- scaling


def _scaling_why(spec: NodeSpec, target: Target) -> str:
    """Why KEDA can't look at the node's queues; empty when it can."""
    url = containers.broker(spec, target)
    if url is None:
        return "nothing says which broker it has; give --broker, or broker=URL for this format"
    urls = split(url)
    if len(urls) > 1:
        return "it has several brokers, and KEDA looks at one; give that as broker=URL for this format"
    if parse(urls[0]).scheme not in (*_REDIS, *_AMQP):
        return f"KEDA can look at queues in Redis and RabbitMQ, not at {parse(urls[0]).scheme}"
    return ""


def _scaling(group: Group, container: Container, target: Target) -> Scaling | None:
    spec = group.spec
    if spec.kind != "worker" or spec.singleton or _scaling_why(spec, target):
        return None
    url = parse(split(str(containers.broker(spec, target)))[0])
    wanted = str(_number(target.settings, "tasks_per_pod", _PER_POD))
    triggers = [_trigger(url, queue, wanted) for queue in containers.queues(spec)]
    if url.scheme in _REDIS:
        secret = {name: value for name, value in (("username", url.username), ("password", url.password)) if value}
    else:
        secret = {"host": _amqp(url)}
    most = max(_number(target.settings, "max_replicas", 3 * group.replicas), group.replicas)
    return Scaling(container, group.replicas, most, triggers, secret)


def _trigger(url: Url, queue: str, wanted: str) -> Trigger:
    if url.scheme in _REDIS:
        metadata = {
            "address": f"{url.host or 'localhost'}:{url.port or 6379}",
            "listName": queue,
            "listLength": wanted,
            "databaseIndex": url.path.strip("/") or "0",
        }
        if url.scheme == "rediss":
            metadata["enableTLS"] = "true"
        return Trigger("redis", metadata, bool(url.password))
    metadata = {"protocol": "amqp", "queueName": queue, "mode": "QueueLength", "value": wanted}
    return Trigger("rabbitmq", metadata, True)


def _amqp(url: Url) -> str:
    from urllib.parse import quote

    login = f"{quote(url.username or 'guest', safe='')}:{quote(url.password or 'guest', safe='')}"
    scheme = "amqps" if url.scheme == "amqps" else "amqp"
    port = url.port or (5671 if scheme == "amqps" else 5672)
    vhost = url.path.removeprefix("/")
    return f"{scheme}://{login}@{url.host or 'localhost'}:{port}/{quote(vhost, safe='')}"
