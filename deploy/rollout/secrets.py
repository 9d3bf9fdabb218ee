"""The values of secret variables: found on this machine when a deploy starts, and never shown."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from multi.deploy.steps import Secret
from multi.errors import ConfigurationError

_TIMEOUT = 60.0


def resolve(
    sources: Mapping[str, tuple[str, tuple[str, ...]]], folder: str, environment: Mapping[str, str] | None = None
) -> dict[str, Secret]:
    """The values by name; one error that tells of all that can't be had. `folder` is where files and commands are looked for."""
    environment = os.environ if environment is None else environment
    found, missing = {}, []
    for name, (source, words) in sources.items():
        try:
            found[name] = Secret(_value(source, words, folder, environment))
        except ConfigurationError as error:
            missing.append(f"{name}: {error}")
    if missing:
        raise ConfigurationError("secrets can't be had: " + "; ".join(missing))
    return found


def _value(source: str, words: tuple[str, ...], folder: str, environment: Mapping[str, str]) -> str:
    if source == "env":
        if words[0] not in environment:
            raise ConfigurationError(f"the variable {words[0]} is not set here")
        return environment[words[0]]
    if source == "file":
        path = os.path.join(folder, os.path.expanduser(words[0]))
        try:
            with open(path, encoding="utf-8") as file:
                return file.read().rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"the file {path} can't be read: {getattr(error, 'strerror', None) or error}"
            ) from None
    return _said(words, folder, environment)


def _said(words: tuple[str, ...], folder: str, environment: Mapping[str, str]) -> str:
    """The first line that the command prints, as `pass` has it; what it says of errors may be shown, its output never."""
    command = words[0]
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env=dict(environment),
            stdin=None,  # a password manager may ask on the terminal
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except OSError as error:
        raise ConfigurationError(f"the command {command} can't be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"the command {command} took longer than {_TIMEOUT:g} s") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ConfigurationError(
            f"the command {command} has failed (exit code {done.returncode}){f': {lines[-1]}' if lines else ''}"
        )
    value = done.stdout.decode(errors="replace").partition("\n")[0].rstrip("\r")
    if not value:
        raise ConfigurationError(f"the command {command} prints nothing")
    return value
