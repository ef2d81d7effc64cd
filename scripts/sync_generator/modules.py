"""Classes and modules: put together, with the imports that they need, and formatted."""

from __future__ import annotations

import ast
import builtins
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .annotations import head, renamed
from .docstrings import docstring
from .members import Function, attribute, attributes, constructor, decorators, is_public, method
from .table import (
    BASES,
    BY_HAND,
    COMMAND,
    LATE,
    MADE,
    PACKAGE,
    ROOT,
    SOURCE_OF,
    SOURCES,
    TARGET,
    TWINS,
    TYPES,
    GeneratorError,
    Source,
)

_TYPING = {"Any", "ClassVar", "overload"}
_BY_HAND = {"AppTwin", "DisplayedTwin", "Made", "Twin", "given", "inner"}


def generate() -> dict[Path, str]:
    """All generated modules."""
    return {TARGET / source.target: _formatted(_module(source), TARGET / source.target) for source in SOURCES}


# --- classes ----------------------------------------------------------------------------------------------------------


def _base_of(node: ast.ClassDef) -> str | None:
    """The class that this one derives from, if that has a twin."""
    return next((each for each in map(head, node.bases) if each in TWINS), None)


def _is_made(node: ast.ClassDef) -> bool:
    return node.name in MADE or _base_of(node) in MADE


def _class(node: ast.ClassDef, base: str, variables: Iterable[str]) -> Iterator[str]:
    found = [each.id for every in node.bases for each in ast.walk(every) if isinstance(each, ast.Name)]
    parameters = list(dict.fromkeys(name for name in found if name in variables))
    original = f"{node.name}[{', '.join(parameters)}]" if parameters else node.name
    yield f"class {TWINS[node.name]}({', '.join(_bases(node, base, original))}):"
    yield from docstring(node, 4)
    yield ""
    if _is_made(node):
        yield f"    _async: {original}"
        yield f"    _async_class: ClassVar[type[{original}]] = {node.name}"
        yield ""
    yield from _members(node)


def _bases(node: ast.ClassDef, base: str, original: str) -> list[str]:
    bases = [BASES.get(head(each), ast.unparse(renamed(each))) for each in node.bases]
    if _base_of(node) is None:
        bases.insert(0, base if base == "AppTwin" else f"{base}[{original}]")
    return bases


def _members(node: ast.ClassDef) -> Iterator[str]:
    methods = [each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    for each in methods:
        if each.name == "__init__" and _is_made(node):
            yield from constructor(each)
    for name, annotation in attributes(node):
        yield from attribute(name, annotation)
    overloads: dict[str, list[Function]] = {}
    for each in methods:
        if "overload" in decorators(each):
            overloads.setdefault(each.name, []).append(each)
        elif is_public(each.name) and each.name not in BY_HAND:
            yield from method(each, overloads.get(each.name, []))


# --- modules ----------------------------------------------------------------------------------------------------------


def _module(source: Source) -> str:
    """The text of a generated module, before it is formatted."""
    module = ast.parse((PACKAGE / source.path).read_text(encoding="utf-8"))
    classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
    if missing := source.twins.keys() - classes.keys():
        raise GeneratorError(f"{source.path} has no class {', '.join(sorted(missing))}")
    names = _Names(source)
    names.read(module)
    code = "\n".join(line for name in source.twins for line in _class(classes[name], source.base, names.variables))
    return "\n".join(
        [
            f"# Generated from omniq/{source.path} by scripts/generate_sync.py: change that, and run `{COMMAND}`.",
            "",
            f'"""`omniq.{source.module}` without ``await``."""',
            "",
            "from __future__ import annotations",
            "",
            *_imports(code, names),
            "",
            "",
            code,
        ]
    )


@dataclass
class _Names:
    """What the names of a source module mean, as import statements for a module in sync/."""

    source: Source
    imports: dict[str, str] = field(default_factory=dict)
    for_types: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def read(self, module: ast.Module) -> None:
        """Take in the module's imports and what it defines."""
        for node in module.body:
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                for each in node.body:
                    self._read_import(each, self.for_types)
            elif isinstance(node, ast.ClassDef | ast.FunctionDef):
                self._define(node.name)
            elif isinstance(node, ast.Assign):
                self._read_assignment(node)
            else:
                self._read_import(node, self.imports)

    def _define(self, name: str) -> None:
        self.imports[name] = f"from ..{self.source.module} import {name}"

    def _read_assignment(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._define(target.id)
                if isinstance(node.value, ast.Call) and head(node.value.func) in {"TypeVar", "ParamSpec"}:
                    self.variables[target.id] = ast.unparse(node)

    def _read_import(self, node: ast.stmt, into: dict[str, str]) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            start = "" if isinstance(node, ast.Import) else f"from {self._place(node)} "
            for each in node.names:
                renaming = f" as {each.asname}" if each.asname else ""
                into[each.asname or each.name] = f"{start}import {each.name}{renaming}"

    def _place(self, node: ast.ImportFrom) -> str:
        """The module that is imported from, as seen from sync/."""
        if not node.level:
            return node.module or ""
        folders = self.source.path.split("/")[:-1]
        above = folders[: len(folders) - node.level + 1]
        return ".." + ".".join([*above, *([node.module] if node.module else [])])

    def statement(self, name: str) -> tuple[str, bool]:
        """The import of a name that a generated module uses; and whether only its annotations may."""
        if name in TWINS.values():
            return f"from .{SOURCE_OF[name].target.removesuffix('.py')} import {name}", name in LATE
        if name in TWINS:
            return f"from ..{SOURCE_OF[name].module} import {name}", False
        if name in _BY_HAND:
            return f"from .twin import {name}", False
        if name in TYPES.values():
            return f"from collections.abc import {name}", False
        if name in self.imports:
            return self.imports[name], False
        if name in self.for_types:
            return self.for_types[name], True
        if name in _TYPING:
            return f"from typing import {name}", False
        raise GeneratorError(f"{self.source.path}: don't know where {name} comes from")


def _imports(code: str, names: _Names) -> Iterator[str]:
    used = _used(code, names.source)
    variables = [names.variables[name] for name in used if name in names.variables]
    statements = [names.statement(name) for name in used if name not in names.variables]
    yield from (statement for statement, for_types in statements if not for_types)
    yield from (f"from typing import {kind}" for kind in ("TypeVar", "ParamSpec") if kind in " ".join(variables))
    guarded = [f"    {statement}" for statement, for_types in statements if for_types]
    if guarded:
        yield from ("from typing import TYPE_CHECKING", "if TYPE_CHECKING:", *guarded)
    yield from ("", *variables)


def _used(code: str, source: Source) -> list[str]:
    """The names that the code takes from elsewhere."""
    tree = ast.parse(code)
    bound = {each.arg for each in ast.walk(tree) if isinstance(each, ast.arg)}
    bound |= {each.id for each in ast.walk(tree) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
    used = {each.id for each in ast.walk(tree) if isinstance(each, ast.Name)}
    return sorted(used - bound - set(dir(builtins)) - set(source.twins.values()))


def _formatted(text: str, path: Path) -> str:
    """The text as ruff, with the project's settings, writes it."""
    for arguments in (["check", "--select=I", "--fix-only", "--quiet"], ["format", "--quiet"]):
        command = [sys.executable, "-m", "ruff", *arguments, f"--stdin-filename={path}", "-"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=ROOT, check=False)
        if done.returncode:
            raise GeneratorError(f"ruff does not take {path.name}:\n{done.stderr}")
        text = done.stdout
    return text
