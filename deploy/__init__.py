"""The deploy toolkit: releases of a project, rolled out to many hosts over SSH.

A pure half makes a plan: the description and the facts of the hosts give, per host, the files, commands and restarts, each with
its reason (`plan`, `hostplan`, `switching`; `steps` are its words). An acting half carries it out in batches, with health
gates and automatic ways back (`operation`, `runner`), over SSH (`connections`, `ssh`) or on a model of the hosts
(`simulation`). A remote host is met only through `multi`'s own command line there, or, on a host without it, through its
unit manager.

For programs and fabfiles of one's own, over one's own connections:

    import multi.deploy

    multi.deploy.restart(group, "img*", rolling=True, path="/srv/shop")

The folder lies at the top of the repository and is installed as `multi.deploy` (`multi/deploy` is a link to it): import
it by that name, never as `deploy`, which is a name that users' own files have.
"""

from __future__ import annotations

from typing import Any

__all__ = ["nodes", "reload", "restart"]


def __getattr__(name: str) -> Any:
    if name == "tasks":
        return _tasks()
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from multi.deploy import library

    return getattr(library, name)


def _tasks() -> Any:
    """`from multi.deploy import tasks`, which is all that a fabfile needs: Invoke collects the tasks that stand at the top of the
    file it loads and none of modules there, so that they are put there when it is Invoke who loads the file."""
    import importlib
    import sys

    tasks = importlib.import_module("multi.deploy.tasks")
    frame = sys._getframe(2)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("importlib"):
        frame = frame.f_back
    above = frame.f_back
    while above is not None and above.f_globals.get("__name__") != "invoke.loader":
        above = above.f_back
    if above is not None:
        for name in tasks.__all__:
            frame.f_globals.setdefault(name, getattr(tasks, name))
    return tasks
