"""Finds what to blame: the part that can't be pickled, the part that is too large."""

from __future__ import annotations

import dis
import io
import socket
import threading
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import lru_cache, partial

from ._pickling import one_line, pickle_bytes
from .errors import SerializationError

_BUDGET = 500
_DEEPEST = 20
_GLOBAL = frozenset({"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL"})

_ADVICE: tuple[tuple[tuple[type, ...], str], ...] = (
    ((types.GeneratorType,), "pass list(...) of it"),
    ((AsyncIterator,), "collect its values in a list first"),
    ((Awaitable,), "await it first and pass the result"),
    ((memoryview,), "pass bytes(...) of it"),
    ((type(threading.Lock()), type(threading.RLock()), threading.Thread), "make it inside the task"),
    ((socket.socket, io.IOBase), "pass its address or path and open it inside the task"),
    ((Iterator,), "pass list(...) of it"),
)


def advice(value: object) -> str:
    """What to do about a value that can't be pickled."""
    for kinds, text in _ADVICE:
        if isinstance(value, kinds):
            return text
    return "pass plain values instead and make it inside the task"


def refusal(value: object, path: str, error: Exception | None) -> SerializationError:
    """The error for a value, found at ``path``, that can't be pickled."""
    reason = f" ({one_line(error)})" if error else ""
    return SerializationError(
        f"{path} is a {type_name(value)}, which can't be sent to a worker{reason}: {advice(value)}"
    )


def type_name(value: object) -> str:
    """The qualified name of the value's class."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def unpicklable(value: object, path: str) -> tuple[str, object]:
    """The innermost part that can't be pickled, and the path to it."""
    budget, found = _BUDGET, (path, value)
    for _ in range(_DEEPEST):
        for step, part in parts(found[1]):
            budget -= 1
            if budget <= 0:
                return found
            if not _picklable(part):
                found = (found[0] + step, part)
                break
        else:
            return found
    return found


def largest(value: object, path: str, size: Callable[[object], int]) -> str:
    """The innermost part that makes up most of ``value``, as path and size; empty when no part stands out."""
    found, best = "", size(value)
    for _ in range(_DEEPEST):
        sized = [(size(part), step, part) for step, part in _first(parts(value), _BUDGET)]
        heaviest = max(sized, key=lambda entry: entry[0], default=None)
        if heaviest is None or heaviest[0] * 2 < best:
            break
        best, step, value = heaviest
        path += step
        found = f"{path} ({type_name(value)}, {best / 1000:,.0f} kB)"
    return found


def parts(value: object) -> Iterator[tuple[str, object]]:
    """What a value consists of as a pickle sees it: the step to each part, and the part."""
    if isinstance(value, str | bytes | bytearray | int | float | types.ModuleType):
        return
    if isinstance(value, types.FunctionType):
        yield from _function_parts(value)
    elif isinstance(value, types.MethodType):
        yield from ((".__self__", value.__self__), (".__func__", value.__func__))
    elif isinstance(value, partial):
        yield from ((".func", value.func), (".args", value.args), (".keywords", value.keywords))
    elif isinstance(value, type):
        yield from ((f".{name}", part) for name, part in vars(value).items() if not name.startswith("__"))
    elif (names := pickled_parts(value)) is not None:
        yield from ((f".{name}", getattr(value, name)) for name in names)
    else:
        yield from _members(value)


def pickled_parts(value: object) -> tuple[str, ...] | None:
    """The attributes, two or more, that alone make up the pickle of an object whose class says so.

    A class says so in ``_omniq_parts``: without it an object has to be expected to have changed at any time.
    """
    return getattr(type(value), "_omniq_parts", None)


@lru_cache(maxsize=1024)
def function_globals(code: types.CodeType) -> tuple[str, ...]:
    """The names of the globals that a function's code, and code nested in it, means; in a fixed order."""
    names = {instruction.argval: None for instruction in dis.get_instructions(code) if instruction.opname in _GLOBAL}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= dict.fromkeys(function_globals(constant))
    return tuple(names)


def _function_parts(func: types.FunctionType) -> Iterator[tuple[str, object]]:
    for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
        try:
            yield f", its closure variable {name!r}", cell.cell_contents
        except ValueError:  # not filled yet
            continue
    for name in function_globals(func.__code__):
        if name in func.__globals__:
            yield f", its global {name!r}", func.__globals__[name]
    yield from ((f", its default value {index}", part) for index, part in enumerate(func.__defaults__ or ()))
    yield from ((f", its default {name!r}", part) for name, part in (func.__kwdefaults__ or {}).items())
    yield from ((f".{name}", part) for name, part in vars(func).items())


def _members(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from ((f"[{key!r}]", part) for key, part in value.items())
        yield from ((f" key {key!r}", key) for key in value)
    elif isinstance(value, list | tuple):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from ((f" element {part!r}", part) for part in value)
    yield from _attributes(value)


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    own = getattr(value, "__dict__", None)
    if isinstance(own, dict):
        yield from ((f".{name}", part) for name, part in own.items())
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield f".{name}", getattr(value, name)


def _picklable(value: object) -> bool:
    try:
        pickle_bytes(value)
    except Exception:  # noqa: BLE001 -- pickling calls whatever the value's class defines
        return False
    return True


def pickled_size(value: object) -> int:
    """How many bytes a value's pickle has; 0 when it can't be pickled."""
    try:
        return len(pickle_bytes(value))
    except Exception:  # noqa: BLE001 -- pickling calls whatever the value's class defines
        return 0


def _first(steps: Iterator[tuple[str, object]], count: int) -> Iterator[tuple[str, object]]:
    return (entry for entry, _ in zip(steps, range(count), strict=False))
