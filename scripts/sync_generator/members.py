"""Methods and attributes: each becomes a call of the asynchronous object's own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .annotations import accepted, has_twin, head, names_in, parameters, parsed, renamed, union, unwrapped, wrapped
from .docstrings import docstring
from .table import ATTRIBUTE_TYPES, LATE, LEFT_OUT, METHODS, SOURCE_OF, GeneratorError

Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_public(name: str) -> bool:
    """Whether a method is the user's, Python's or the notebook's to call."""
    return not name.startswith("_") or bool(re.fullmatch(r"__\w+__|_repr_\w+_|_ipython_\w+_", name))


def decorators(node: Function) -> list[str]:
    """A function's decorators, in order."""
    return [ast.unparse(each) for each in node.decorator_list]


# --- signatures -------------------------------------------------------------------------------------------------------


def all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    """A function's parameters of every kind."""
    variadic = [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *variadic]


def signature(node: Function) -> str:
    """Parameters and return type of the twin."""
    copy = ast.parse(f"def f({ast.unparse(node.args)}): ...").body[0]
    if not isinstance(copy, ast.FunctionDef):
        raise GeneratorError(f"can't copy the parameters of {node.name}")
    kept = [at for at, each in enumerate(copy.args.kwonlyargs) if each.arg not in LEFT_OUT]
    copy.args.kwonlyargs = [copy.args.kwonlyargs[at] for at in kept]
    copy.args.kw_defaults = [copy.args.kw_defaults[at] for at in kept]
    for each in all_arguments(copy.args):
        if each.annotation is not None:
            each.annotation = accepted(each.annotation)
    returns = f" -> {ast.unparse(renamed(node.returns))}" if node.returns is not None else ""
    return f"({ast.unparse(copy.args)}){returns}"


def passed_on(arguments: ast.arguments) -> str:
    """The arguments of the call that the twin makes."""
    positional = [*arguments.posonlyargs, *arguments.args][1:]  # without self or cls
    passed = [unwrapped(each.annotation, each.arg) for each in positional]
    if arguments.vararg is not None:
        passed.append(f"*{_without_twins(arguments.vararg)}")
    named = [each for each in arguments.kwonlyargs if each.arg not in LEFT_OUT]
    passed += [f"{each.arg}={unwrapped(each.annotation, each.arg)}" for each in named]
    if arguments.kwarg is not None:
        passed.append(f"**{_without_twins(arguments.kwarg)}")
    return ", ".join(passed)


def _without_twins(argument: ast.arg) -> str:
    if has_twin(argument.annotation):
        raise GeneratorError(f"don't know how to take twins out of *{argument.arg}")
    return argument.arg


# --- methods ----------------------------------------------------------------------------------------------------------


def constructor(node: Function) -> Iterator[str]:
    """How a twin is made that makes its asynchronous object itself."""
    yield f"    def __init__{signature(node)}:"
    yield f"        self._adopt(self._async_class({passed_on(node.args)}))"
    yield ""


def method(node: Function, overloads: list[Function]) -> Iterator[str]:
    """The twin of a method."""
    for overload in overloads:
        yield f"    @overload\n    def {overload.name}{signature(overload)}: ..."
    for decorator in decorators(node):
        if decorator not in {"property", "classmethod"}:
            raise GeneratorError(f"don't know what @{decorator} makes of {node.name}")
        yield f"    @{decorator}"
    yield f"    def {METHODS.get(node.name, node.name)}{signature(node)}:"
    yield from docstring(node, 8)
    yield from _indented(_body(node, overloads))
    yield ""


def _indented(lines: list[str]) -> Iterator[str]:
    """A body, with the imports that would go in circles at the top of the module."""
    for name in sorted(LATE & {word for line in lines for word in re.findall(r"\w+", line)}):
        yield f"        from .{SOURCE_OF[name].target.removesuffix('.py')} import {name}"
        yield ""
    yield from (f"        {line}" for line in lines)


def _body(node: Function, overloads: list[Function]) -> list[str]:
    returns = union([each.returns for each in overloads if each.returns]) if overloads else node.returns
    if "property" in decorators(node):
        return [f"return {wrapped(returns, f'self._async.{node.name}')}"]
    if "classmethod" in decorators(node):
        return [_made_by_class(node)]
    call = f"self._async.{node.name}({passed_on(node.args)})"
    if isinstance(node, ast.AsyncFunctionDef) and _is_generator(node):
        return _iterating(node, call)
    if isinstance(node, ast.AsyncFunctionDef):
        return _returning(returns, f"self._run({call})")
    if "asyncio" in names_in(node):  # it has to be called on the loop
        return _returning(returns, f"self._call({call.replace('(', ', ', 1).replace(', )', ')')}")
    if node.returns is None or ast.unparse(node.returns) != "Any":
        return _returning(returns, call)
    if overloads:  # none of them takes what the implementation takes
        return [
            f"overloaded: Any = self._async.{node.name}",
            *_returning(returns, f"overloaded({passed_on(node.args)})"),
        ]
    return [f"return self._own({call})"]


def _is_generator(node: Function) -> bool:
    return any(isinstance(each, ast.Yield | ast.YieldFrom) for each in ast.walk(node))


def _returning(returns: ast.expr | None, call: str) -> list[str]:
    described = "None" if returns is None else ast.unparse(returns)
    if described in {"None", "Self"}:
        return [call] if described == "None" else [call, "return self"]
    return [f"return {wrapped(returns, call)}"]


def _made_by_class(node: Function) -> str:
    if node.returns is None or ast.unparse(node.returns) != "Self":
        raise GeneratorError(f"don't know how to translate the class method {node.name}")
    return f"return cls._of(cls._async_class.{node.name}({passed_on(node.args)}))"


def _iterating(node: Function, call: str) -> list[str]:
    values = f'self._iterate({call}, "{node.name}")'
    item = parameters(node.returns)[0] if node.returns is not None else None
    if not has_twin(item):
        return [f"return {values}"]
    return [f"for each in {values}:", f"    yield {wrapped(item, 'each')}"]


# --- attributes -------------------------------------------------------------------------------------------------------


def attribute(name: str, annotation: ast.expr) -> Iterator[str]:
    """A property of the twin."""
    yield f"    @property\n    def {name}(self) -> {ast.unparse(renamed(annotation))}:"
    yield from _indented([f"return {wrapped(annotation, f'self._async.{name}')}"])
    yield ""


def attributes(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    """The public attributes that ``__init__`` sets, with their types."""
    init = next((each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"), None)
    if init is None:
        return
    types = {each.arg: each.annotation for each in all_arguments(init.args)}
    for statement in init.body:
        for name, annotation, value in _assigned(statement):
            if not name.startswith("_") and name not in LEFT_OUT:
                yield name, annotation or _type_of(node.name, name, value, types)


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr | None, ast.expr]]:
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        yield from ((name, statement.annotation, statement.value) for name in _of_self(statement.target))
    if isinstance(statement, ast.Assign):
        for target in statement.targets:
            pairs = [(target, statement.value)]
            if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
                pairs = list(zip(target.elts, statement.value.elts, strict=True))
            yield from ((name, None, value) for each, value in pairs for name in _of_self(each))


def _of_self(node: ast.expr) -> list[str]:
    """The attribute's name, if it is one of ``self``."""
    return [node.attr] if isinstance(node, ast.Attribute) and names_in(node.value) == {"self"} else []


def _type_of(owner: str, name: str, value: ast.expr, types: dict[str, ast.expr | None]) -> ast.expr:
    if (owner, name) in ATTRIBUTE_TYPES:
        return parsed(ATTRIBUTE_TYPES[owner, name])
    if isinstance(value, ast.JoinedStr):
        return ast.Name("str")
    if isinstance(value, ast.Name) and (annotation := types.get(value.id)) is not None:
        return annotation
    if isinstance(value, ast.Call):
        maker = value.func.value if isinstance(value.func, ast.Attribute) else value.func
        if head(maker)[:1].isupper():
            return maker
    raise GeneratorError(
        f"can't see the type of {owner}.{name}: annotate it where it is set, or add it to ATTRIBUTE_TYPES"
    )
