"""The templates from which files are made: ours, and in their place a user's own of the same names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from multi.errors import ConfigurationError

if TYPE_CHECKING:
    import jinja2

#: Where ours are: a folder for each format.
OURS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "templates")


class Templates:
    """Fills in templates; those in the folder `own` come before ours."""

    def __init__(self, own: str | None = None) -> None:
        if own is not None and not os.path.isdir(own):
            raise ConfigurationError(
                f"there is no directory {own} for templates; `multi render --eject {own}` makes it, with copies of ours"
            )
        self._own = own
        self._environment = _environment(own)

    def filled(self, name: str, values: Mapping[str, Any], **filters: Callable[..., Any]) -> str:
        """The template of that name with the values; `filters` are what it may call to quote them."""
        import jinja2

        self._environment.filters.update(filters)
        try:
            return self._environment.get_template(name).render(values)
        except jinja2.TemplateNotFound as error:
            raise ConfigurationError(f"there is no template {error.name}, neither in {self._own} nor ours") from None
        except jinja2.TemplateSyntaxError as error:
            raise ConfigurationError(f"{error.filename or name}:{error.lineno}: {error.message}") from None
        except ConfigurationError:
            raise
        except Exception as error:  # whatever an expression in a user's own template comes to
            place = self.path(name)
            raise ConfigurationError(
                f"{place}{_line(error, place)}: {error}; ours is to be had with `multi render --eject DIR`"
            ) from None

    def path(self, name: str) -> str:
        """The file that is used for this name."""
        own = os.path.join(self._own, name) if self._own else ""
        return own if own and os.path.isfile(own) else os.path.join(OURS, name)


@cache
def _environment(own: str | None) -> jinja2.Environment:
    """One for all who use these folders: it keeps the templates that it has read, and looks whether they have changed."""
    import jinja2  # not needed by most commands, and no small import

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([*([own] if own else []), OURS]),
        # a name that is misspelt in a template must not become an empty directive
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # these are no web pages; each format quotes in its own way
    )


def every() -> list[str]:
    """The names of all templates of ours."""
    found = []
    for folder, folders, files in os.walk(OURS):
        folders.sort()
        found += [os.path.relpath(os.path.join(folder, file), OURS) for file in sorted(files) if file.endswith(".j2")]
    return found


def _line(error: BaseException, path: str) -> str:
    """Where in the template it happened, as `:7`."""
    number, step = 0, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == path:
            number = step.tb_lineno
        step = step.tb_next
    return f":{number}" if number else ""
