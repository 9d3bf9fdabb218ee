"""Which names of a file are its settings, and where they are read: those of the module and of its classes, unless a
function has one of its own by that name."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import msgspec

_Body = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class Scope(msgspec.Struct):
    """The nodes of a body that are no other body's, and the names that mean settings there."""

    nodes: list[ast.AST]
    settings: frozenset[str]


def bound(body: _Body) -> list[tuple[str, int]]:
    """The names that a body gives a value, and the lines where it does so."""
    found = []
    for node in _own(body):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.append((node.id, node.lineno))
        elif isinstance(node, ast.alias):
            found.append(((node.asname or node.name).partition(".")[0], node.lineno))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append((node.name, node.lineno))
    return found


def scopes(tree: ast.Module) -> Iterator[Scope]:
    """The module, and every class and function in it."""
    yield from _scopes(tree, frozenset())


def _scopes(body: _Body, outer: frozenset[str]) -> Iterator[Scope]:
    nodes = list(_own(body))
    mine = frozenset(name for name, _ in bound(body))
    if isinstance(body, ast.Module | ast.ClassDef):
        settings = outer | mine
        # the names of a class are not seen by its methods
        inner = settings if isinstance(body, ast.Module) else outer
    else:
        arguments = {node.arg for node in ast.walk(body.args) if isinstance(node, ast.arg)}
        shared = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
        settings = inner = outer - (mine - shared) - arguments
    yield Scope(nodes, settings)
    for node in nodes:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _scopes(node, inner)


def _own(body: _Body) -> Iterator[ast.AST]:
    """The nodes of a body, without those of the functions and classes in it; of an f-string only itself."""
    statements: list[ast.AST] = [body.body] if isinstance(body, ast.Lambda) else list(body.body)
    while statements:
        node = statements.pop(0)
        yield node
        if isinstance(node, ast.JoinedStr):
            continue
        if isinstance(node, ast.Lambda):
            statements += [*node.args.defaults, *(each for each in node.args.kw_defaults if each is not None)]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            statements += [*node.decorator_list, *arguments.defaults]
            statements += [each for each in arguments.kw_defaults if each is not None]
            annotated = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            statements += [each.annotation for each in annotated if each.annotation is not None]
            statements += [node.returns] if node.returns is not None else []
        elif isinstance(node, ast.ClassDef):
            statements += [*node.decorator_list, *node.bases, *(each.value for each in node.keywords)]
        else:
            statements += ast.iter_child_nodes(node)
