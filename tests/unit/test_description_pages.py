"""The other forms of the table of keys: the schema, the sample, the reference; and what is written reads as it was."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from multi.nodes.description import describe
from multi.nodes.description.keys import NODE_KEYS, PROJECT_KEYS
from multi.nodes.description.plan import changes
from multi.nodes.description.portrait import portrait
from multi.nodes.description.reference import reference
from multi.nodes.description.sample import sample
from multi.nodes.description.schema import schema
from multi.nodes.description.writing import render, toml
from multi.nodes.names import NodeName
from multi.nodes.spec import NodeSpec

_NEED_OTHERS = ("# engine", "# inherits", "# command", "# depends")
ROOT = Path(__file__).parents[2]


def test_the_reference_in_the_documentation_is_that_of_the_table() -> None:
    assert (ROOT / "docs/multi.toml.md").read_text() == reference(), "python docs/build.py --reference"


def test_every_example_is_right() -> None:
    for key in NODE_KEYS.values():
        if key.example:
            text = f"[nodes.x]\n{key.name} = {key.example}\n[nodes.w]\n[nodes.beat]\n"
            assert describe(text, "/srv/multi.toml").problems == [], key.name
    assert all(key.meaning.endswith(".") for key in (*NODE_KEYS.values(), *PROJECT_KEYS.values()))


def test_the_sample_describes_two_workers_and_is_right_with_all_its_comments_in_force() -> None:
    text = sample("shop", "shop.tasks")
    found = describe(text, "/srv/shop/multi.toml").check()
    assert (found.name, [node.name for node in found.nodes]) == ("shop", ["w1", "w2"])
    assert found.nodes[0].spec.options == {"app": "shop.tasks", "loglevel": "INFO"}
    of_w, of_images = text.index("[nodes.w]"), text.index("# [nodes.images]")
    assert "inherits" not in text[of_w:of_images]  # it would be itself
    lines = [
        line.removeprefix("# ")
        for line in text.splitlines()
        if re.match(r"# ([a-z_]+ = |\[nodes\.)", line) and not line.startswith(_NEED_OTHERS)
    ]
    assert len(lines) > 20
    tomllib.loads("\n".join(line for line in dict.fromkeys(lines) if not line.startswith(("queues", "kind"))))


def test_the_schema_has_every_key_with_its_meaning() -> None:
    found = json.loads(json.dumps(schema()))
    node = found["properties"]["nodes"]["additionalProperties"]["properties"]
    assert node.keys() == NODE_KEYS.keys()
    assert "count" not in found["properties"]["defaults"]["properties"]
    assert node["nice"]["minimum"] == -20
    name = found["properties"]["name"]["pattern"]
    assert re.search(name, "工人 店", re.ASCII)  # as editors understand it
    assert not re.search(name, "--", re.ASCII)
    assert re.search(node["hostname"]["pattern"], "工1.%d", re.ASCII)
    assert all(value["description"] for value in node.values())


@pytest.mark.parametrize(
    "value", [1, 1.5, True, 'a "b" \\ \n\t\x01 é', ["a", ["b"]], {"a b": 1, "c": {"d": []}}, {}, ""]
)
def test_what_is_written_as_toml_is_read_as_it_was(value: Any) -> None:
    assert tomllib.loads(f"x = {toml(value)}")["x"] == value


def spec(name: str, **more: Any) -> NodeSpec:
    return NodeSpec(NodeName(name, "h"), executable="/venv/bin/python", cwd="/srv/shop", **{"options": {}, **more})


def test_what_is_written_of_nodes_describes_nodes_that_are_the_same() -> None:
    policy = {"restart": "always", "quit_after": 60.0, "log_size": 0, "max_age": 3600, "log_format": "json"}
    before = {
        "w1": spec(
            "w1", options={"app": "proj", "queues": "a, b", "concurrency": "4", "loglevel": "info"}, policy=policy
        ),
        "w2": spec(
            "w2", options={"app": "proj", "queues": "a, b", "concurrency": "4", "loglevel": "info"}, policy=policy
        ),
        "v": spec(
            "v",
            options={
                "app": "proj",
                "task_events": True,
                "time_limit": "2.5",
                "logfile": "log/%n.log",
                "--own": "x y",
                "broker": "redis://:pw@h",
            },
            rest=["--more"],
            env={"A": 'x "y"'},
            umask=0o077,
            user="shop",
            limits={"nofile": [1, 2], "core": -1},
            nice=5,
            env_files=["/srv/shop/a.env", "-/etc/b.env"],
            hooks={"ready": [{"argv": ["a", "b"]}], "crashed": [{"url": "https://example.com"}, {"argv": ["c"]}]},
        ),
        "beat": spec("beat", options={"app": "proj"}, kind="beat", engine="celery"),
        "sleep": spec("sleep", command=["sleep", "100"], policy={"ready_after": 2.0}),
    }
    values = {name: portrait(one, "/srv/shop", "/other/python", "h") for name, one in before.items()}
    text = render(values, name="shop")
    after = {node.name: node.spec for node in describe(text, "/srv/shop/multi.toml", host="h").check().nodes}
    assert after.keys() == before.keys()
    for name, one in before.items():
        if name == "sleep":
            after[name].executable = one.executable  # a program has none
        assert changes(one, after[name]) == [], text
    assert "[nodes.w]\ncount = 2\n" in text
    assert text.count('app = "proj"') == 1
