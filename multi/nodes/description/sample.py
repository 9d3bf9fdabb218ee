"""The commented file that `multi init` writes where there is nothing to take over."""

from __future__ import annotations

import textwrap

from multi.nodes.description.keys import NODE, NODE_KEYS, PROJECT_KEYS, Key
from multi.nodes.description.writing import toml

_WIDTH = 120
#: What stands in the first table, or can't.
_NOT_FOR_W = ("count", "kind", "inherits")
_HEAD = """\
# What runs in this project. `multi up` makes it so, `multi up --dry-run` says what that would do, `multi check` checks this
# file, and `multi down` stops it all. Times are "90s", "10m", "2h" (or seconds), sizes "500MB", "1.5GB" (or bytes); paths
# are seen from the folder of this file. Every key is explained in docs/multi.toml.md; editors learn them from `multi schema`.
"""


def sample(name: str, app: str, engine: str = "multi") -> str:
    """A file that describes two workers of `app`; all other keys stand in it as comments."""
    lines = [_HEAD.rstrip(), "", f"name = {toml(name)}"]
    lines += _comments([key for key in PROJECT_KEYS.values() if key.name != "name"])
    lines += ["", "# What holds for every node that doesn't say otherwise.", "[defaults]", f"app = {toml(app)}"]
    if engine != "multi":
        lines.append(f"engine = {toml(engine)}")
    lines.append('loglevel = "INFO"')
    group = ""
    for key in NODE_KEYS.values():
        if key.where == NODE or key.name in ("app", "loglevel") or (key.name == "engine" and engine != "multi"):
            continue
        if not key.example:
            continue  # what hardly anybody needs is in the reference
        if key.group != group:
            group = key.group
            lines += ["", f"# ---- {group}"]
        lines += _comments([key])
    lines += ["", "# Two workers: w1 and w2. What stands here holds for them alone.", "[nodes.w]", "count = 2"]
    lines += _comments([key for key in NODE_KEYS.values() if key.where == NODE and key.name not in _NOT_FOR_W])
    lines += [
        "",
        "# A worker for one queue, a beat, another program:",
        *("# [nodes.images]", '# inherits = "w"', '# queues = ["images"]', "#"),
        *("# [nodes.beat]", '# kind = "beat"', "#"),
        *("# [nodes.flower]", '# kind = "command"', '# command = "celery flower"', '# depends_on = ["w"]'),
        "",
        "# ---- Hosts, for `multi deploy`; all keys are in docs/multi.toml.md.",
        *("# [deploy]", f"# path = {toml(f'/srv/{name}')}", '# owner = "shop"', '# serial = [1, "25%"]', "#"),
        *('# [hosts."app[1:2]"]', '# address = "%h.example.com"', '# user = "deploy"'),
    ]
    return "\n".join(lines) + "\n"


def _comments(keys: list[Key]) -> list[str]:
    lines = []
    for key in keys:
        line = f"# {key.name} = {key.example}"
        note = key.meaning + (f" Without it: {key.default}." if key.default else "")
        if len(line) + len(note) + 4 <= _WIDTH:
            lines.append(f"{line}  # {note}")
        else:
            lines += [f"#   {part}" for part in textwrap.wrap(note, _WIDTH - 4)] + [line]
    return lines
