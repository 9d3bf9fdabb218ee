"""`app.conf`: the settings in force, as attributes and as a mapping."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from multi.config import environment
from multi.config.removed import OTHERS_TOO, why
from multi.config.table import NOTED, TABLE, upper_names
from multi.config.values import OwnName, convert
from multi.errors import ConfigurationError, UnknownSetting, UnsupportedOption

_OLD_PREFIXES = ("CELERYBEAT_", "CELERYD_", "CELERY_")


class Settings(MutableMapping[str, Any]):
    """The settings of one app.

    What wins, strongest first: the environment (`MULTI_<SETTING>`; for the URLs also Celery's variables), what was set
    through this object, the arguments of `App`, the configuration object, the default. Old upper-case names are
    understood everywhere. A name that is nearly one of ours, or unknown under a prefix of ours, is an error; any other
    name belongs to the project and is kept as it is.
    """

    _load: Callable[[], Mapping[str, Any]] | None
    _fallback: Callable[[], Callable[[], Mapping[str, Any]] | None] | None
    _tell: Callable[[str], None] | None
    _read: bool

    def __init__(
        self,
        arguments: Mapping[str, Any] | None = None,
        fallback: Callable[[], Callable[[], Mapping[str, Any]] | None] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """`fallback` finds what is loaded if nobody has said anything by the time that a setting is first asked for; `tell`
        is called with "on_configure" before, and "on_after_configure" after that."""
        set_ = object.__setattr__
        set_(self, "_arguments", {})
        set_(self, "_loaded", {})
        set_(self, "_changes", {})
        set_(self, "_own", {})
        set_(self, "_spelled", {})
        set_(self, "_load", None)
        set_(self, "_fallback", fallback)
        set_(self, "_tell", tell)
        set_(self, "_read", False)
        set_(self, "_watchers", [])
        self._spelled.clear()
        for name, value in (arguments or {}).items():
            self._put(self._arguments, name, value, once=True)

    # sources ---------------------------------------------------------------------------------------------------------

    def load_with(self, load: Callable[[], Mapping[str, Any]]) -> None:
        """Take the configuration from what `load` gives, when a setting is first asked for; drops earlier changes."""
        object.__setattr__(self, "_load", load)
        object.__setattr__(self, "_read", False)
        self._loaded.clear()
        self._changes.clear()
        self._own.clear()
        self._changed(None)

    def watch(self, callback: Callable[[str | None], None]) -> None:
        """Call `callback` with the name of a setting that has changed (None: any may have), so that nothing derived
        from its old value is used on."""
        self._watchers.append(callback)

    @property
    def configured(self) -> bool:
        """Whether anybody has said anything: arguments, an object, or a change."""
        return bool(self._load or self._arguments or self._changes)

    def _fill(self) -> None:
        """Look at the environment and read the configuration, unless that is done."""
        if self._read:
            return
        environment.check()
        if self._tell is not None:
            self._tell("on_configure")
        load = self._load
        if load is None and self._fallback is not None and not self.configured:
            load = self._fallback()
        if load is not None:
            # what is read may ask for settings itself; and what is wrong now is wrong at the next question too
            object.__setattr__(self, "_read", True)
            self._spelled.clear()
            wrong: list[ConfigurationError] = []
            try:
                for name, value in load().items():
                    try:
                        self._put(self._loaded, name, value, once=True)
                    except ConfigurationError as error:
                        wrong.append(error)
                if wrong:
                    raise _together(wrong)
            except BaseException:
                object.__setattr__(self, "_read", False)
                self._loaded.clear()
                raise
        object.__setattr__(self, "_read", True)
        if self._tell is not None:
            self._tell("on_after_configure")

    def _put(self, layer: dict[str, Any], key: str, value: Any, *, once: bool = False) -> None:
        """Keep a value; `once`, where all names come at one time, so that two of one setting can't mean one after the other."""
        name = None if isinstance(key, OwnName) else resolve(key)
        if name is None:
            self._own[str(key)] = value
            return
        setting = TABLE[name]
        value = convert(setting, value, key)
        if once:
            before = self._spelled.setdefault(name, key)
            if before != key and layer.get(name, value) != value:
                raise two_names(before, key)
        layer[name] = value

    def _changed(self, key: str | None) -> None:
        name = None if key is None else resolve(key)
        for callback in self._watchers:
            callback(name or key)

    # reading ---------------------------------------------------------------------------------------------------------

    def _known(self, name: str) -> Any:
        setting = TABLE[name]
        if not self._read:
            self._fill()
        variable, text = environment.find(name)
        if text:
            return convert(setting, text, variable, from_text=True)
        for layer in (self._changes, self._arguments, self._loaded):
            if name in layer:
                return layer[name]
        return setting.default.copy() if isinstance(setting.default, dict) else setting.default

    def __getitem__(self, key: str) -> Any:
        if key in TABLE:
            return self._known(key)
        if not self._read:
            self._fill()
        if key in self._own:
            return self._own[key]
        name = _upper(key)
        if name is not None:
            return self._known(name)
        raise KeyError(key)

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        try:
            return self[key]
        except KeyError:
            near = _near(key)
            hint = f"; did you mean {near!r}?" if near else ""
            raise UnknownSetting(f"no setting is called {key!r}{hint}") from None

    def __iter__(self) -> Iterator[str]:
        self._fill()
        yield from TABLE
        yield from self._own

    def __len__(self) -> int:
        self._fill()
        return len(TABLE) + len(self._own)

    def is_set(self, name: str) -> bool:
        """Whether somebody has given `name` a value, be it its default."""
        self._fill()
        layers = (self._changes, self._arguments, self._loaded)
        return bool(environment.find(name)[1]) or any(name in layer for layer in layers)

    # writing ---------------------------------------------------------------------------------------------------------

    def __setitem__(self, key: str, value: Any) -> None:
        # a configuration object that is still to be read must not come over what is set now
        self._put(self._changes, key, value)
        self._changed(key)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Change several settings. Raises `ConfigurationError` where two names of one setting have different values."""
        given = dict(*args, **kwargs)
        values: dict[str, Any] = {}
        self._spelled.clear()
        for key, value in given.items():
            if resolve(key) is not None:
                self._put(values, key, value, once=True)
        for key, value in given.items():
            self[key] = value

    def clear(self) -> None:
        """Take back what was set through this object; arguments and the configuration stay."""
        self._changes.clear()
        self._changed(None)

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __delitem__(self, key: str) -> None:
        name = resolve(key)
        if name is None:
            del self._own[key]
        else:
            self._changes.pop(name, None)
            self._changed(name)

    def __delattr__(self, key: str) -> None:
        del self[key]

    @contextmanager
    def changed(self, **values: Any) -> Iterator[Settings]:
        """These settings have other values within the block."""
        self._fill()
        before, own = dict(self._changes), dict(self._own)
        try:
            for name, value in values.items():
                self[name] = value
            yield self
        finally:
            for kept, values_before in ((self._changes, before), (self._own, own)):
                kept.clear()
                kept.update(values_before)
            self._changed(None)

    # reports ---------------------------------------------------------------------------------------------------------

    def notes(self) -> list[str]:
        """A line for each setting or variable that was given and has no meaning here; the worker logs them at its start."""
        lines = []
        for name, setting in TABLE.items():
            if setting.standing == NOTED and self.is_set(name) and self._known(name) not in setting.usual:
                lines.append(f"setting {name}: {setting.note}")
        return lines + environment.notes()

    def shown(self, with_defaults: bool = False, censored: bool = True) -> dict[str, str]:
        """The `repr` of the settings that are given, or of all; what is secret is masked."""
        from multi.masking import STARS, is_secret, mask_arguments

        self._fill()
        found = {name: repr(self._known(name)) for name in TABLE if with_defaults or self.is_set(name)}
        if not censored:
            return found
        secret = {name for name in found if is_secret(name) and not name.endswith("routing_key")}
        return {name: STARS if name in secret else mask_arguments(text) for name, text in found.items()}

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """The settings that are given, or all; what is secret is masked."""
        shown = self.shown(with_defaults, censored)
        return {name: _masked(self._known(name), text) for name, text in shown.items()}

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """`table` as lines of text."""
        return "\n".join(f"{name}: {text}" for name, text in self.shown(with_defaults, censored).items())

    def check(self) -> None:
        """Read everything once, so that all that is wrong shows now and not at first use."""
        self._fill()
        for name in TABLE:
            self._known(name)

    def __repr__(self) -> str:
        from multi.urls import mask

        shown = {name: self._known(name) for name in TABLE if self.is_set(name)}
        return f"<Settings {mask(repr(shown))}>"


def _masked(value: Any, text: str) -> Any:
    """A setting as its masked `repr` has it: a value of the same kind where that can be read, else the text."""
    if repr(value) == text:
        return value
    try:
        found = literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return found if type(found) is type(value) else text


def _together(errors: list[ConfigurationError]) -> ConfigurationError:
    """One error for all that is wrong in a configuration."""
    if len(errors) == 1:
        return errors[0]
    return ConfigurationError(f"{len(errors)} settings are wrong:" + "".join(f"\n  {error}" for error in errors))


def two_names(first: str, second: str) -> ConfigurationError:
    """The error about a setting that is given under two names."""
    return ConfigurationError(f"{first} and {second} are two names of one setting, with different values; keep one")


def resolve(key: str) -> str | None:
    """The setting that `key` names, None for a key of the project's own. Raises `UnknownSetting` for a near miss, and
    `UnsupportedOption` for what Celery itself has removed."""
    if key in TABLE:
        return key
    name = _upper(key)
    if name is not None:
        return name
    if key not in OTHERS_TOO and (gone := why(key)):
        raise UnsupportedOption(gone)
    near = _near(key)
    if key.startswith(_OLD_PREFIXES):
        hint = f"; did you mean {near}?" if near else ""
        raise UnknownSetting(f"no setting is called {key!r}{hint}")
    if near is not None:
        raise UnknownSetting(f"no setting is called {key!r}; did you mean {near!r}?")
    return None


_uppers: dict[str, str] = {}


def _upper(key: str) -> str | None:
    if not key.isupper():
        return None
    if not _uppers:
        _uppers.update(upper_names())
    return _uppers.get(key)


def _near(key: str) -> str | None:
    """The known name that `key` is probably meant to be: for an upper-case one "OLD_NAME (new_name)"."""
    if len(key) < 6:
        return None
    from difflib import get_close_matches

    if not key.isupper():
        found = get_close_matches(key, TABLE, 1, 0.87)
        return found[0] if found else None
    if not key.startswith((*_OLD_PREFIXES, "BROKER_")):
        return None
    _upper("CELERY_")  # fills the table of names
    # CELERY_CONCURRENCY is CELERYD_CONCURRENCY, and not CELERY_COMPRESSION, though as near
    rest = _rest(key)
    for prefix in _OLD_PREFIXES:
        if prefix + rest in _uppers:
            return f"{prefix}{rest} ({_uppers[prefix + rest]})"
    if key.startswith(_OLD_PREFIXES):
        # what is common to all of them must not make two names alike
        rests = {_rest(name): name for name in _uppers if name.startswith(_OLD_PREFIXES)}
        found = [rests[name] for name in get_close_matches(rest, rests, 1, 0.8)]
    else:
        found = get_close_matches(key, _uppers, 1, 0.9)
    return f"{found[0]} ({_uppers[found[0]]})" if found else None


def _rest(key: str) -> str:
    """An upper-case name without its prefix."""
    for prefix in _OLD_PREFIXES:
        if key.startswith(prefix):
            return key[len(prefix) :]
    return key


def refuse_near_miss(key: str, known: Iterable[str], others: Container[str]) -> None:
    """Raise for a keyword argument that is nearly one of `known`, unless it is one of `others`."""
    if key in others:
        return
    from difflib import get_close_matches

    near = get_close_matches(key, known, 1, 0.8)
    if near:
        raise UnknownSetting(f"there is no argument {key!r}; did you mean {near[0]!r}?")
