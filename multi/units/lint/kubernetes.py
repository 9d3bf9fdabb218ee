"""What is wrong with pods that run workers."""

from __future__ import annotations

from multi.units.lint import commands, stopping, wrapping
from multi.units.lint.commands import BEAT, Work
from multi.units.lint.compose import words_of
from multi.units.lint.rules import RULES, Edit, Finding
from multi.units.lint.tree import Table, documents

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
#: What else makes several pods of one template; of these none is started before the former one has ended.
_COPIES = ("StatefulSet", "ReplicaSet", "ReplicationController", "DaemonSet")


class Pod:
    """A pod or the template of one: its specification, and that of what makes pods of it."""

    def __init__(self, document: Table, spec: Table, owner: Table | None) -> None:
        self.name = str(document.value("metadata", "name") or document.value("kind"))
        self.kind = str(document.value("kind"))
        self.spec = spec
        self.owner = owner
        self.works: list[tuple[Table, Work]] = []
        for container in spec.tables("containers"):
            command = " ".join(filter(None, (words_of(container.value(key)) for key in ("command", "args"))))
            work = commands.recognised(command, self.name)
            if work is not None:
                self.works.append((container, work))


def pods(text: str, path: str) -> list[Pod]:
    """The pods with a worker or a beat in them."""
    found = []
    for document in _documents(text, path):
        owner = document.table("spec")
        if document.value("kind") == "Pod":
            spec, owner = owner, None
        elif document.value("kind") == "CronJob":
            spec = document.table("spec", "jobTemplate", "spec", "template", "spec")
        else:
            spec = document.table("spec", "template", "spec")
        if spec is not None:
            pod = Pod(document, spec, owner)
            if pod.works:
                found.append(pod)
    return found


def _documents(text: str, path: str) -> list[Table]:
    found = []
    for document in documents(text, path):
        found += document.tables("items") if document.value("kind") == "List" else [document]
    return found


def examine(text: str, path: str, longest: float | None) -> list[Finding]:
    """What is wrong with the pods of this file."""
    found: list[Finding] = []
    for pod in pods(text, path):
        for container, work in pod.works:
            found += _container(pod, container, work)
        found += _stop(pod, longest)
        if any(work.role == BEAT for _, work in pod.works):
            found += _single(pod)
    return found


def _container(pod: Pod, container: Table, work: Work) -> list[Finding]:
    name = f"{pod.name}: {container.value('name')}"
    replicas = pod.owner.value("replicas") if pod.owner is not None else 1
    found: list[Finding] = []
    if not work.is_opaque:
        key = next((one for one in ("args", "command") if container.find(one) is not None), "command")
        found += wrapping.findings(container, key, name, work, replicas if isinstance(replicas, int) else 1)
    for probe in _PROBES:
        test = words_of(container.value(probe, "exec", "command"))
        if wrapping.asks_broker(test):
            edit = container.comment_out(probe)
            remedy = (
                f"no {probe}, or (with multi in the image) multi probe NODE{'' if probe == _PROBES[0] else ' --ready'}"
            )
            text = f"{name}: {probe}: {wrapping.short(test)}"
            found.append(Finding(RULES["M502"], container.line_of(probe), text, remedy, (edit,) if edit else ()))
    return found


def _stop(pod: Pod, longest: float | None) -> list[Finding]:
    works = [work for _, work in pod.works if work.runs_tasks]
    key = "terminationGracePeriodSeconds"
    given = pod.spec.value(key)
    if not works or (isinstance(given, int) and all(stopping.is_enough(given, work, longest) for work in works)):
        return []
    wanted, work = max((stopping.proposed(work, longest), at) for at, work in enumerate(works))
    what = f"{key} is not given: 30 s" if given is None else f"{key}: {given}"
    remedy = f"{key}: {wanted}: {stopping.why(works[work], longest)}"
    return [Finding(RULES["M501"], pod.spec.line_of(key), f"{pod.name}: {what}", remedy, (pod.spec.put(key, wanted),))]


def _single(pod: Pod) -> list[Finding]:
    """A beat is one, also while one follows the other."""
    if pod.owner is None or pod.kind not in ("Deployment", *_COPIES):
        return []
    if pod.kind == "DaemonSet":
        return [_beat(pod, ["DaemonSet: one on each machine"], [])]
    edits: list[Edit] = []
    texts = []
    replicas = pod.owner.value("replicas")
    if isinstance(replicas, int) and replicas > 1:
        texts.append(f"replicas: {replicas}")
        edits.append(pod.owner.put("replicas", 1))
    kind = pod.owner.value("strategy", "type")
    if kind != "Recreate" and pod.kind == "Deployment":
        texts.append(f"strategy: {kind or 'RollingUpdate, the default'}")
        if pod.owner.find("strategy", "rollingUpdate") is not None:
            strategy = pod.owner.table("strategy")
            edit = strategy.comment_out("rollingUpdate") if strategy is not None else None
            if edit is None:
                return [_beat(pod, texts, [])]
            edits.append(edit)
        edits.append(pod.owner.put_table("strategy", "type", "Recreate"))
    return [_beat(pod, texts, edits)] if texts else []


def _beat(pod: Pod, texts: list[str], edits: list[Edit]) -> Finding:
    assert pod.owner is not None
    line = pod.owner.line_of("strategy") if pod.owner.find("strategy") else pod.owner.line
    remedy = {
        "Deployment": "replicas: 1 and strategy: { type: Recreate }",
        "DaemonSet": "a Deployment with replicas: 1",
    }.get(pod.kind, "replicas: 1")
    return Finding(RULES["M503"], line, f"{pod.name}: {', '.join(texts)}", remedy, tuple(edits))


def runs_something(text: str, path: str) -> bool:
    """Whether a worker or a beat is recognised in it."""
    return bool(pods(text, path))
