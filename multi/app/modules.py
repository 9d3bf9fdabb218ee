"""Imports what an app's tasks are in, and hands over to the command line."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from multi import signals
from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from multi.app.app import App


def import_all(app: App) -> None:
    """`include`, `imports`, and what was to be discovered. Raises `ConfigurationError` for a module that isn't there."""
    conf = app.conf
    for fixup in app.fixups:
        fixup.before_imports()
    signals.import_modules.send(app)
    for name in dict.fromkeys((*(conf.include or ()), *(conf.imports or ()))):
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
                raise
            raise ConfigurationError(
                f"the module {name!r}, which include or imports names, is not found; looked in "
                f"{', '.join(path or '.' for path in sys.path[:3])}, …"
            ) from None
    discover(app)


def discover(app: App) -> None:
    """Import `<package>.<related>` wherever it exists."""
    for packages, related in app._discover:
        if packages is None:
            if not app.fixups:
                logging.getLogger("multi").warning(
                    "autodiscover_tasks() without packages looks in Django's installed apps, and there is no Django here: "
                    "set DJANGO_SETTINGS_MODULE before the app is made, or name the packages"
                )
            packages = [package for fixup in app.fixups for package in fixup.packages()]
        for package in packages() if callable(packages) else packages:
            name = f"{package}.{related}" if related else package
            import_module(package)
            if find_spec(name) is not None:
                import_module(name)


def run_command(app: App, argv: Sequence[str] | None, *, worker: bool = False) -> None:
    """Run the command `multi` with this app. It is found by the entry point under which it is installed."""
    from multi import plugins

    arguments = list(sys.argv[1:] if argv is None else argv)
    if worker and "worker" not in arguments:
        raise ValueError("the arguments of worker_main should hold 'worker', as in ['worker', '-l', 'INFO']")
    from multi.app import find

    find.given = app
    _name_main()
    code = plugins.find("console_scripts", "multi")(arguments)
    if code:
        sys.exit(code)


def _name_main() -> None:
    """Make a module that is run as a program known under its own name as well.

    The tasks import their app from `proj.celery`; where that is what runs, they must not get a second copy of it.
    """
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    file = getattr(main, "__file__", None)
    if spec is not None:
        name = spec.name
    elif file:
        folder, base = os.path.split(os.path.abspath(file))
        parts = [os.path.splitext(base)[0]]
        while os.path.exists(os.path.join(folder, "__init__.py")):
            folder, package = os.path.split(folder)
            parts.insert(0, package)
        name = ".".join(parts)
        if len(parts) > 1 and folder not in sys.path:
            sys.path.append(folder)
    else:
        return
    if name != "__main__":
        sys.modules.setdefault(name, main)
