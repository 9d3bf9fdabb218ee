"""Renders the documentation: `python docs/build.py build/docs`. With `--reference` it writes docs/multi.toml.md and
docs/settings.md anew instead.

Fails when a page points to a file, a heading or a module that isn't there. No site generator does that across the whole
repository (README and the code belong to it here), and the pages need nothing else that one has.
"""

from __future__ import annotations

import argparse
import html
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

#: A file of this repository in `code`: it has a slash and begins with one of the folders.
FILE = re.compile(r"(multi|deploy|templates|docs|tests|examples|benchmarks|\.ci)/[\w./*<>-]*")

#: A module or what is in it, in `code`: multi.app.execute, multi.brokers.base.Lane.
MODULE = re.compile(r"multi(\.[a-z_]\w*)+")

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ max-width: 50rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; }}
body {{ color: #222; background: #fff; }}
pre, code {{ font: .9em/1.4 ui-monospace, monospace; background: #f3f3f3; }}
pre {{ padding: .7rem; overflow-x: auto; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
th, td {{ border: 1px solid #bbb; padding: .2rem .5rem; text-align: left; vertical-align: top; }}
nav {{ border-bottom: 1px solid #bbb; padding-bottom: .5rem; }}
@media (prefers-color-scheme: dark) {{
  body {{ color: #ddd; background: #181818; }} pre, code {{ background: #262626; }} a {{ color: #8cf; }}
}}
</style>
<nav>{nav}</nav>
{body}
</html>
"""


def pages(root: Path) -> list[Path]:
    """All pages, in the order of reading."""
    first = [root / "README.md", root / "docs/tour.md", root / "docs/multi.toml.md", root / "docs/states.md"]
    first.append(root / "docs/migrating.md")
    last = [root / "CONTRIBUTING.md", root / "CHANGELOG.md"]
    rest = sorted(path for path in (root / "docs").rglob("*.md") if path not in first)
    rest.append(root / "benchmarks/README.md")
    return [path for path in (*first, *rest, *last) if path.exists()]


def anchor(text: str) -> str:
    """The anchor of a heading, as code hosts make it."""
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def flat(tokens: list[Token]) -> Iterator[Token]:
    """All tokens, those inside others too."""
    for token in tokens:
        yield token
        yield from flat(token.children or [])


class Page:
    """One Markdown file, taken apart."""

    def __init__(self, path: Path, parser: MarkdownIt) -> None:
        self.path = path
        self.tokens = parser.parse(path.read_text())
        self.anchors: set[str] = set()
        self.title = path.stem
        for token, text in zip(self.tokens, self.tokens[1:], strict=False):
            if token.type == "heading_open":
                name = anchor("".join(part.content for part in text.children or []))
                token.attrSet("id", name)
                self.anchors.add(name)
                if token.tag == "h1":
                    self.title = text.content


class Site:
    """All pages, checked against each other and the repository."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.parser = MarkdownIt("commonmark").enable("table")
        self.pages = {path: Page(path, self.parser) for path in pages(root)}

    def faults(self) -> Iterator[str]:
        """What is wrong, a line each."""
        for path, page in self.pages.items():
            for token in flat(page.tokens):
                fault = ""
                if token.type == "link_open":
                    fault = self.link_fault(page, str(token.attrs["href"]))
                elif token.type == "image":
                    fault = self.link_fault(page, str(token.attrs["src"]))
                elif token.type == "code_inline":
                    fault = self.code_fault(token.content)
                if fault:
                    yield f"{path.relative_to(self.root)}: {fault}"

    def link_fault(self, page: Page, link: str) -> str:
        if re.match(r"[a-z]+:", link):
            return ""  # another site: not ours to check
        name, _, heading = unquote(link).partition("#")
        target = (page.path.parent / name).resolve() if name else page.path
        if not target.exists():
            return f"the link {link} leads nowhere"
        if heading and target in self.pages and heading not in self.pages[target].anchors:
            return f"the link {link} names no heading of {target.name}"
        return ""

    def code_fault(self, text: str) -> str:
        if (
            FILE.fullmatch(text)
            and not any(sign in text for sign in "<>")
            and not any(self.root.glob(text.rstrip("/")))
        ):
            return f"there is no file {text}"
        if MODULE.fullmatch(text) and not self.is_module(text):
            return f"there is no module {text}"
        return ""

    def is_module(self, name: str) -> bool:
        """Whether the name is a module, or something that the text of the module above it speaks of."""
        path = self.root / name.replace(".", "/")
        if path.is_dir() or path.with_suffix(".py").exists():
            return True
        for home in (path.parent / "__init__.py", path.parent.with_suffix(".py")):
            if home.exists() and re.search(rf"\b{path.name}\b", home.read_text()):
                return True
        # entry point groups have dotted names too
        return f'"{name}"' in (self.root / "pyproject.toml").read_text()

    def render(self, folder: Path) -> int:
        """Write everything; returns the number of pages."""
        for path, page in self.pages.items():
            target = self.target(path, folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            for token in flat(page.tokens):
                if token.type == "link_open":
                    token.attrSet("href", self.rewritten(page, str(token.attrs["href"]), folder))
            links = (self.menu_entry(other, folder, target.parent) for other in self.pages)
            body = self.parser.renderer.render(page.tokens, self.parser.options, {})
            target.write_text(PAGE.format(title=html.escape(page.title), nav=" · ".join(links), body=body))
        return len(self.pages)

    def menu_entry(self, path: Path, folder: Path, here: Path) -> str:
        return f'<a href="{os.path.relpath(self.target(path, folder), here)}">{html.escape(self.pages[path].title)}</a>'

    def target(self, path: Path, folder: Path) -> Path:
        relative = path.relative_to(self.root).with_suffix(".html")
        return folder / ("index.html" if relative == Path("README.html") else relative)

    def rewritten(self, page: Page, link: str, folder: Path) -> str:
        """A link to a page leads to its rendered form; one to another file of the repository to that file."""
        name, mark, heading = link.partition("#")
        if not name or re.match(r"[a-z]+:", link):
            return link
        target = (page.path.parent / unquote(name)).resolve()
        if target in self.pages:
            target = self.target(target, folder)
        return os.path.relpath(target, self.target(page.path, folder).parent) + mark + heading


def write_reference() -> int:
    """The pages of all keys of multi.toml and of all settings, which tests compare with the tables that they are made from."""
    from multi.config.reference import reference as settings
    from multi.nodes.description.reference import reference

    for name, text in (("multi.toml.md", reference()), ("settings.md", settings())):
        path = Path(__file__).with_name(name)
        path.write_text(text)
        print(f"{path} is written")
    return 0


def main(words: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description="Render the documentation.")
    options.add_argument("folder", nargs="?", default="build/docs", help="where to (%(default)s)")
    options.add_argument("root", nargs="?", default=Path(__file__).parents[1], help="another repository than this one")
    options.add_argument(
        "--reference", action="store_true", help="write docs/multi.toml.md and docs/settings.md anew instead"
    )
    given = options.parse_args(words)
    if given.reference:
        return write_reference()
    site = Site(Path(given.root).resolve())
    faults = list(site.faults())
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        return 1
    print(f"{site.render(Path(given.folder).resolve())} pages in {given.folder}; open {given.folder}/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
