"""Which names a cell reads before it assigns them: in a function those would be empty."""

from __future__ import annotations

import ast
from collections.abc import Iterable


def read_before_assigned(tree: ast.Module) -> list[str]:
    """The names that a module's top level assigns somewhere, and may read before."""
    reads = _Reads()
    reads.visit_all(tree.body)
    return sorted(reads.early & reads.assigned)


class _Reads(ast.NodeVisitor):
    """Walks in the order of execution. What one branch assigns does not count for what follows it."""

    def __init__(self) -> None:
        self.early: set[str] = set()
        self.assigned: set[str] = set()
        self._known: set[str] = set()

    def visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def _branch(self, nodes: Iterable[ast.AST | None]) -> None:
        known = set(self._known)
        self.visit_all(nodes)
        self._known = known

    def _store(self, name: str) -> None:
        self.assigned.add(name)
        self._known.add(name)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self._store(node.id)
        elif node.id not in self._known:
            self.early.add(node.id)
            if isinstance(node.ctx, ast.Del):
                self.assigned.add(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit_all([node.value, *node.targets])

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit_all([node.value, node.target])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name) and node.target.id not in self._known:
            self.early.add(node.target.id)
        self.visit_all([node.value, node.target])

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._store(alias.asname or alias.name.partition(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self._store(alias.asname or alias.name)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.visit_all([*node.decorator_list, *node.args.defaults, *node.args.kw_defaults])
        self._inside([*_parameters(node.args)], node.body)
        self._store(node.name)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._inside([*_parameters(node.args)], [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.visit_all([*node.decorator_list, *node.bases, *(each.value for each in node.keywords)])
        self._inside([], node.body)
        self._store(node.name)

    def _inside(self, names: list[str], body: list[ast.stmt] | list[ast.expr]) -> None:
        """A scope of its own: what it assigns stays there."""
        inner = _Reads()
        inner._known = {*self._known, *names}
        inner.visit_all(body)
        self.early |= inner.early - inner.assigned

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self.visit(node.iter)
        self._branch([node.target, *node.body])
        self._branch(node.orelse)

    visit_AsyncFor = visit_For  # noqa: N815

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self._branch(node.body)
        self._branch(node.orelse)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self._branch(node.body)
        self._branch(node.orelse)

    def visit_Try(self, node: ast.Try) -> None:
        self._branch([*node.body, *node.orelse])
        for handler in node.handlers:
            known = set(self._known)
            if handler.name:
                self._store(handler.name)
            self._branch([handler.type, *handler.body])
            self._known = known
        self.visit_all(node.finalbody)

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        for case in node.cases:
            self._branch([case.pattern, case.guard, *case.body])

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self.visit_all([node.pattern])
        if node.name:
            self._store(node.name)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        known = set(self._known)
        assigned = set(self.assigned)
        for each in node.generators:
            self.visit_all([each.iter, each.target, *each.ifs])
        self.visit_all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        self._known, self.assigned = known, assigned

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _comprehension  # noqa: N815


def _parameters(arguments: ast.arguments) -> Iterable[str]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return (each.arg for each in every if each is not None)
