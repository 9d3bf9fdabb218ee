"""The page of all settings, docs/settings.md, made from the table."""

from __future__ import annotations

from typing import Any

from multi.config.groups import SECTIONS, scheduler, worker
from multi.config.removed import OTHERS_TOO, REMOVED
from multi.config.setting import ACTED, Setting
from multi.config.table import TABLE, old_name

#: The settings that Celery hasn't got.
OWN = (*worker.OWN, *scheduler.OWN)
_INTRODUCTION = """\
# Settings

<!-- made from multi/config/groups by docs/build.py with the option reference; edit there -->

All {count} settings: the {celerys} that Celery 5.7 has, and {own} that only multi has. {acted} are acted upon; {noted}
are accepted and have no meaning here, each for the reason that its row gives, and a worker says so in one line at its
start where one is set to anything unusual. {removed} that Celery itself has removed are refused, with what has taken
their place; of these, names that a project may have for other programs ({others}) are its own.

## Where settings come from

Strongest first:

1. The environment: `MULTI_<SETTING>` for any of them (`MULTI_WORKER_CONCURRENCY=4`), and Celery's own variables
   `CELERY_BROKER_URL`, `CELERY_BROKER_READ_URL`, `CELERY_BROKER_WRITE_URL` and `CELERY_RESULT_BACKEND`. The options `-b` and
   `--result-backend` set these.
2. What the program sets: `app.conf.task_serializer = "yaml"`, `app.conf["timezone"] = …`, `app.conf.update(…)`.
3. Arguments of the app: `App("proj", broker=…, backend=…, include=[…], task_serializer="json")`.
4. The configuration: `app.config_from_object("proj.config")` (a module, `module:attribute`, class, object or mapping),
   `app.config_from_envvar("VARIABLE")`. Where an app says nothing at all, the module that `CELERY_CONFIG_MODULE` names, or
   `celeryconfig`, if there is one.
5. The default. `app.add_defaults(…)` sets values where nothing else does.

They are read when the first one is asked for. All that is wrong is then an error: a value of the wrong type, a name
that is nearly one of these (it says which), an unknown name with a prefix of Celery's. Any other name is the project's
own, and is there as `app.conf.NAME`.

`app.start()` runs the command line with this app, as `multi` does, and `app.worker_main(["worker", "-l", "INFO"])` a
worker.

## Old names and new ones

A setting has its new name (`worker_concurrency`) and the one from before Celery 4 (`CELERYD_CONCURRENCY`). Both are
understood everywhere, and so is the new one in capitals with `CELERY_` before it (`CELERY_WORKER_CONCURRENCY`), which
Celery takes with `namespace="CELERY"` only and otherwise drops without a word. With `config_from_object(…,
namespace="CELERY")`, as Django's projects have it, the settings are the names under that prefix, and all others are the
project's own.

Celery refuses a configuration that mixes old and new names. Here a mixed one is read as it is meant; only two names of
one setting with different values are an error. `multi upgrade settings FILE` rewrites old names: comments and
everything else stay as they are, `--dry-run` shows the change as a diff, `--django` writes them as Django's settings
have them. Doing it again changes nothing.

`multi check --migration PATH` reads a project of Celery's without importing it and says what will be different, setting
by setting and task by task; [migrating.md](migrating.md) explains it. `multi report -A proj` shows what is set, with
secrets masked.

"""


def reference() -> str:
    """The whole page."""
    acted = sum(row.standing == ACTED for row in TABLE.values())
    text = _INTRODUCTION.format(
        count=len(TABLE),
        celerys=len(TABLE) - len(OWN),
        own=len(OWN),
        acted=acted,
        noted=len(TABLE) - acted,
        removed=len(REMOVED),
        others=", ".join(f"`{name}`" for name in sorted(OTHERS_TOO)),
    )
    for title, rows in SECTIONS:
        text += f"## {title}\n\n" + _table(rows)
    text += "## What Celery has removed\n\n| setting | in its place |\n|---|---|\n"
    return text + "".join(f"| `{name}` | {instead} |\n" for name, instead in sorted(REMOVED.items()))


def _table(rows: tuple[Setting, ...]) -> str:
    lines = ["| setting | old name | type | default | what it does |", "|---|---|---|---|---|"]
    for row in rows:
        old = "" if row in OWN else f"`{old_name(row.name)}`"
        told = row.meaning or f"*accepted*: {row.note}"
        lines.append(f"| `{row.name}` | {old} | {row.kind} | {_shown(row.default)} | {told} |")
    return "\n".join(lines) + "\n\n"


def _shown(default: Any) -> str:
    text = repr(default).replace("|", "\\|")
    return "" if default is None else f"`{text}`"
