"""Types: the twins' own, and the way from an asynchronous object to its twin and back."""

from __future__ import annotations

import ast
from functools import reduce

from .table import ALSO_ASYNC, MADE, TWINS, TYPES, GeneratorError


def parsed(code: str) -> ast.expr:
    """An expression."""
    return ast.parse(code, mode="eval").body


def head(node: ast.expr) -> str:
    """The name of a class, with or without parameters."""
    base = node.value if isinstance(node, ast.Subscript) else node
    return base.id if isinstance(base, ast.Name) else ""


def parameters(node: ast.expr) -> list[ast.expr]:
    """What stands between a type's brackets."""
    if not isinstance(node, ast.Subscript):
        return []
    return list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]


def members(node: ast.expr) -> list[ast.expr]:
    """The members of a union; of another type, itself."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return members(node.left) + members(node.right)
    return [node]


def names_in(node: ast.AST | None) -> set[str]:
    """The names that occur."""
    return set() if node is None else {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def has_twin(node: ast.expr | None) -> bool:
    """Whether an asynchronous class occurs."""
    return bool(names_in(node) & TWINS.keys())


# --- the types --------------------------------------------------------------------------------------------------------


class _Renamer(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(TYPES.get(node.id, TWINS.get(node.id, node.id)))


def renamed(node: ast.expr) -> ast.expr:
    """The type with twins in place of asynchronous classes."""
    changed: ast.expr = _Renamer().visit(parsed(ast.unparse(node)))
    return changed


def accepted(node: ast.expr) -> ast.expr:
    """The type of a parameter: of some classes it takes the asynchronous form too."""
    types = [renamed(each) for each in members(node)]
    types += [each for each in members(node) if head(each) in ALSO_ASYNC]
    return union(types)


def union(types: list[ast.expr]) -> ast.expr:
    """The union of types, each once."""
    different = {ast.unparse(each): each for each in types}
    return reduce(lambda left, right: ast.BinOp(left, ast.BitOr(), right), different.values())


# --- the objects ------------------------------------------------------------------------------------------------------


def wrapped(node: ast.expr | None, value: str) -> str:
    """An expression that makes twins of the asynchronous objects in ``value``, whose type is ``node``."""
    if node is None or not has_twin(node):
        return value
    if len(members(node)) > 1:
        return _wrapped_union(members(node), value)
    name = head(node)
    if name in MADE:
        return f"given({TWINS[name]}, {value}, self._home)"
    if name in TWINS:
        return f"{TWINS[name]}({value}, self._home)"
    if name in {"list", "Sequence"}:
        return f"[{wrapped(parameters(node)[0], 'each')} for each in {value}]"
    if name in {"Iterator", "AsyncIterator"}:
        return f"({wrapped(parameters(node)[0], 'each')} for each in {value})"
    if name == "Callable":
        return f"lambda *args: {wrapped(parameters(node)[1], f'{value}(*args)')}"
    raise GeneratorError(f"don't know how to make twins in a {ast.unparse(node)}")


def _wrapped_union(types: list[ast.expr], value: str) -> str:
    *tested, last = sorted(types, key=lambda each: head(each) not in TWINS)
    parts = [f"{wrapped(each, 'found')} if isinstance(found, {head(each)}) else " for each in tested]
    parts[0] = parts[0].replace("isinstance(found,", f"isinstance(found := {value},")
    return "".join(parts) + wrapped(last, "found")


def unwrapped(node: ast.expr | None, name: str) -> str:
    """An expression that takes the asynchronous objects out of the parameter ``name``, whose type is ``node``."""
    if node is None or not has_twin(node):
        return name
    twins = [each for each in map(head, members(node)) if each in TWINS]
    if twins and (len(members(node)) > 1 or twins[0] in ALSO_ASYNC):
        return f"inner({name}) if isinstance({name}, {' | '.join(TWINS[each] for each in twins)}) else {name}"
    if twins:
        return f"inner({name})"
    if head(node) in {"list", "Sequence"}:
        return f"[{unwrapped(parameters(node)[0], 'each')} for each in {name}]"
    raise GeneratorError(f"don't know how to take twins out of a {ast.unparse(node)}")
