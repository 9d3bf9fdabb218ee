"""The reference of multi.toml, docs/multi.toml.md, made from the table of keys."""

from __future__ import annotations

from multi.nodes.description.deploy_kinds import DEPLOY_HOOKS
from multi.nodes.description.deploying import BOTH, DEPLOY_KEYS, ENVIRONMENT, FLEET, HOST
from multi.nodes.description.keys import NODE, NODE_KEYS, PROJECT_KEYS, Key
from multi.nodes.description.kinds import Choice, Table

_HEAD = """\
# multi.toml

<!-- made from multi/nodes/description/keys.py: python docs/build.py --reference -->

One file says what a project runs; `multi up` makes it so.

```toml
name = "shop"

[defaults]                        # for every node
app = "shop.tasks:app"
python = "venv/bin/python"
env_files = ["shop.env"]
log = { every = "1d", keep = 14, compress = true }

[nodes.w]                         # w1, w2, w3
count = 3
depends_on = ["tcp://127.0.0.1:6379"]

[nodes.images]                    # one node, images
inherits = "w"
queues = ["images"]
max_memory = "1GB"

[nodes.beat]
kind = "beat"
engine = "celery"

[nodes.flower]
kind = "command"
command = "celery -A shop.tasks flower"
depends_on = ["w"]
```

It lies at the top of the project and is found from every folder below. In a `pyproject.toml` the same stands below
`[tool.multi]`: `[tool.multi.defaults]`, `[tool.multi.nodes.w]`. Where both are in one folder, `multi up` and `multi check`
refuse, and all other commands go by multi.toml.

| command | does |
|---|---|
| `multi init` | writes the file: from nothing, from what runs, or from another tool's file (`--from`, drop-ins included) |
| `multi check` | checks it, and what it needs on this machine: all errors at once, each with its key and line; starts nothing |
| `multi up` | starts what is missing, restarts what has changed, stops what is gone from the file; `--dry-run` only says so |
| `multi down` | stops all of it, in the opposite order; `--dry-run` only says so |
| `multi schema` | the JSON schema, for editors |

Every other command takes the names of the nodes as ever (`multi restart w1`), and the name of a table for all its nodes
(`multi restart w`). In the project's folders these names mean its own nodes, whatever other projects call theirs. Names may be in
any script.

- **Times** are `"90s"`, `"10m"`, `"2h"`, `"1h30m"`, `"7d"` or a number of seconds; **sizes** `"500MB"`, `"1.5GB"` or a number of
  bytes. 1 kB is 1024 bytes.
- **Paths** are seen from the file's folder. Links in them are not followed until a node starts, so that a restart goes
  with a link that points to another release since. Paths in options of the worker itself (`statedb`) are seen from its
  `directory`.
- **Values** of a node come from its own table, then from the table that it `inherits`, then from `[defaults]`. Tables such as
  `env`, `limits`, `log`, `stop`, `hooks` are added to each other, everything else replaces. A command takes no options of a
  worker from `[defaults]`, and a beat takes those that it has.
- **A node has changed** when what it was started with differs in effect from what the file says. Variables of the shell that
  shape an app (`PYTHONPATH`, `DJANGO_SETTINGS_MODULE`, …) are kept with a new node, as with `multi start`, and never count as a
  change. A file of `env_files` that was written since the node's start is a change.
- **Gone** is what a description has started and does not describe any more. It is stopped and, once it is down, forgotten: `multi
  status` and `multi restart --all` know it no more. Its log stays. Nodes that were started by hand are left alone,
  unless they have a described name: these belong to the description from the first `multi up`.
- **Order**: a node is started when all that it depends on is there: nodes are ready, ports take connections, commands exit with
  0. Whatever doesn't depend on each other goes at the same time. What can't be had within its time (60 s, or `timeout`) is
  told, and what depends on it is not started.
"""


def reference() -> str:
    """The whole page."""
    parts = [_HEAD.rstrip(), "", "## At the top", "", *_rows(list(PROJECT_KEYS.values()))]
    groups: dict[str, list[Key]] = {}
    for key in NODE_KEYS.values():
        groups.setdefault(key.group, []).append(key)
    options = groups.pop("Options of the worker")
    for group, keys in groups.items():
        parts += ["", f"## {group}", "", *_rows(keys)]
        for key in keys:
            if isinstance(key.kind, Table):
                parts += _of_table(key.name, key.kind)
    parts += [
        "",
        "## Options of the worker",
        "",
        "By their long names, as `multi worker --help` explains them.",
        "",
        *_rows(options),
        *_deploys(),
    ]
    return "\n".join(parts) + "\n"


_OF_DEPLOYS = """\
## Hosts and deploys

What `multi deploy` goes by: `[deploy]` for all hosts, `[environments.NAME]` over it for those of one environment
(`multi deploy push -e staging`), `[hosts.NAME]` over both for one host. One table may be for several hosts, as in
`[hosts."app[1:3]"]`, with `%h` in its address for their names.

```toml
[deploy]
path = "/srv/shop"
owner = "shop"
serial = [1, "25%"]
hooks = { migrate = "python manage.py migrate" }

[hosts."app[1:4]"]
address = "%h.example.com"
roles = ["web"]

[hosts.old]                       # supervisord, with a Python of its own, and nothing of multi
installer = "none"
python = "/opt/python3.6/bin/python"

[nodes.images]
roles = ["web"]                   # runs on app1 to app4
```
"""
_WHERE = {
    FLEET: "`[deploy]`, `[environments.NAME]`",
    BOTH: "all three",
    HOST: "`[hosts.NAME]`",
    ENVIRONMENT: "`[environments.NAME]`",
}


def _deploys() -> list[str]:
    parts = ["", _OF_DEPLOYS.rstrip()]
    groups: dict[str, list[Key]] = {}
    for key in DEPLOY_KEYS.values():
        groups.setdefault(key.group, []).append(key)
    for group, keys in groups.items():
        parts += ["", f"### {group}", "", "| key | type | in | without it | meaning |", "|---|---|---|---|---|"]
        for key in keys:
            what = f"{_cell(key.meaning)} `{_cell(key.example)}`"
            parts.append(
                f"| `{key.name}` | {_type_of(key.kind)} | {_WHERE[key.where]} | {_cell(key.default)} | {what} |"
            )
        for key in keys:
            if isinstance(key.kind, Table):
                parts += _of_table(key.name, key.kind)
    parts += ["", "The moments of `hooks`:", "", "| moment | runs |", "|---|---|"]
    parts += [f"| `{moment}` | {when} |" for moment, when in DEPLOY_HOOKS.items()]
    return parts


def _of_table(name: str, kind: Table) -> list[str]:
    rows = [
        f"| `{name}.{key}` | {_type_of(entry.kind)} | {_cell(entry.meaning)} |" for key, entry in kind.entries.items()
    ]
    return ["", f"`{name}` is a table:", "", "| key | type | meaning |", "|---|---|---|", *rows]


def _rows(keys: list[Key]) -> list[str]:
    rows = ["| key | type | without it | meaning |", "|---|---|---|---|"]
    for key in keys:
        where = " Not in `[defaults]`." if key.where == NODE else ""
        example = f" `{_cell(key.example)}`" if key.example else ""
        rows.append(
            f"| `{key.name}` | {_type_of(key.kind)} | {_cell(key.default)} | {_cell(key.meaning)}{where}{example} |"
        )
    return rows


def _type_of(kind: object) -> str:
    if isinstance(kind, Choice):
        return " ".join(f"`{word}`" for word in kind.words)
    return str(getattr(kind, "named", ""))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
