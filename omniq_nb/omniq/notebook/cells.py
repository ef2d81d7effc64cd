"""A cell's text to a function: the one that it defines, or one that runs the cell itself."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable
from types import CodeType
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ..errors import OptionError
from ..tasks import TaskFunction
from .names import read_before_assigned

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_CAN_AWAIT = (ast.Await, ast.AsyncFor, ast.AsyncWith)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


class CellFunction(msgspec.Struct, frozen=True):
    """A function that came of a cell.

    Attributes:
        func: The function.
        values: Arguments for it: the variables that the cell uses and assigns.
        is_body: Whether it is the cell itself.
    """

    func: Callable[..., Any]
    values: dict[str, Any]
    is_body: bool


def function_of(shell: InteractiveShell, cell: str, name: str | None) -> CellFunction:
    """What a cell's task is to run.

    Args:
        shell: Whose namespace the cell belongs to.
        cell: Its text, without the magic's line.
        name: What a cell without a function is called.

    Raises:
        OptionError: The cell is empty or no Python, awaits outside of a function, or uses what works at a cell's top
            level only.
    """
    try:
        source = shell.transform_cell(cell)
        tree = ast.parse(source)
    except SyntaxError as error:
        raise OptionError(f"the cell is no Python: {error.msg} (line {(error.lineno or 0) + 1})") from error
    if not tree.body:
        raise OptionError("the cell is empty: write a function, or what is to be done")
    last = tree.body[-1]
    if isinstance(last, ast.FunctionDef | ast.AsyncFunctionDef):
        return CellFunction(_defined(shell, source, last.name), {}, is_body=False)
    return _body(shell, source, name or f"cell_{shell.execution_count}")


# --- a cell that defines a function ---


def _defined(shell: InteractiveShell, source: str, name: str) -> Callable[..., Any]:
    # One line for the magic's, so that a traceback names the lines that the cell shows.
    text = "\n" + source
    tree = ast.parse(text)
    if any(_awaits(statement) for statement in tree.body):
        raise OptionError(
            "the cell awaits outside of the function, which a magic can't: "
            "put that in a cell of its own, or in the function"
        )
    filename = shell.compile.cache(text, shell.execution_count, raw_code=text)
    exec(_compile(shell, tree, filename), shell.user_global_ns, shell.user_ns)  # noqa: S102 -- the user's cell
    found = shell.user_ns[name]
    if isinstance(found, TaskFunction) and (found.own_options or found.name != found.func.__name__):
        raise OptionError(
            f"the decorator's own options would be lost: write them after %%omniq_task (see `%%omniq_task?`), or leave "
            f"the magic out: {name!r} is a task already"
        )
    func = found.func if isinstance(found, TaskFunction) else found
    if not callable(func):
        raise OptionError(f"{name!r} is no function any more: its decorators made a {type(func).__name__} of it")
    return cast("Callable[..., Any]", func)


# --- a cell that is the function ---


def _body(shell: InteractiveShell, source: str, name: str) -> CellFunction:
    if not name.isidentifier():
        raise OptionError(f"a cell's name must be one that Python could use, not {name!r}")
    tree = ast.parse("\n" + source)
    awaits = any(_awaits(statement) for statement in tree.body)
    # What the cell assigns is local to the function, so a value that it has before has to be handed in.
    assigned = [each for each in read_before_assigned(tree) if each in shell.user_ns]
    # For tracebacks and `inspect.getsource`: the cell's lines in their places, as the function that they make up.
    keyword = "async def" if awaits else "def"
    shown = f"{keyword} {name}({', '.join(assigned)}):\n{textwrap.indent(source, '    ')}"
    filename = shell.compile.cache(shown, shell.execution_count, raw_code=shown)
    _wrap(tree, name, assigned, awaits=awaits)
    namespace: dict[str, Any] = {}
    try:
        code = _compile(shell, tree, filename)
    except SyntaxError as error:
        raise OptionError(f"the cell can't run as a task: {error.msg} (line {error.lineno})") from error
    exec(code, shell.user_ns, namespace)  # noqa: S102 -- this only defines the function
    return CellFunction(namespace[name], {each: shell.user_ns[each] for each in assigned}, is_body=True)


def _compile(shell: InteractiveShell, tree: ast.Module, filename: str) -> CodeType:
    # The shell's compiler knows the `from __future__` of earlier cells; its types leave out that it takes a tree.
    return shell.compile(cast("str", tree), filename, "exec")


def _wrap(tree: ast.Module, name: str, parameters: list[str], *, awaits: bool) -> None:
    """Make a module's statements one function, which returns the value of the last expression."""
    body = tree.body
    if isinstance(body[-1], ast.Expr):
        body[-1] = ast.copy_location(ast.Return(body[-1].value), body[-1])
    named = [ast.arg(each) for each in parameters]
    arguments = ast.arguments(posonlyargs=[], args=named, kwonlyargs=[], kw_defaults=[], defaults=[])
    kind = ast.AsyncFunctionDef if awaits else ast.FunctionDef
    function = kind(name=name, args=arguments, body=body, decorator_list=[], lineno=1, col_offset=0)
    if "type_params" in function._fields:
        setattr(function, "type_params", [])  # noqa: B010 -- a field from Python 3.12 on
    tree.body = [function]
    ast.fix_missing_locations(tree)


def _awaits(node: ast.AST) -> bool:
    if isinstance(node, _CAN_AWAIT) or (isinstance(node, ast.comprehension) and node.is_async):
        return True
    if isinstance(node, _SCOPES):
        return False
    return any(_awaits(child) for child in ast.iter_child_nodes(node))
