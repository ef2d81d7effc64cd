"""What a function refers to, and whether it still does: so that a function is pickled again only when it changed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import logging
import re
import sys
import types
import typing
import uuid
import zoneinfo
from collections.abc import Callable, Collection, Iterable
from operator import attrgetter, is_, itemgetter
from pathlib import PurePath
from typing import Any

from ._culprits import function_globals, pickled_parts
from ._pickling import LRU_CACHE, importable, pickled_by_value

# Looking at more values than this costs more than pickling again.
_MOST = 2_000
_HEAP_TYPE = 1 << 9

# Values of these types never change, and hold nothing that does.
_CONSTANT = frozenset({
    type(None), bool, int, float, complex, str, bytes, range, type(...), type(NotImplemented), object,
    dt.datetime, dt.date, dt.time, dt.timedelta, dt.timezone, zoneinfo.ZoneInfo,
    decimal.Decimal, uuid.UUID, re.Pattern, typing.TypeVar, types.CodeType,
    types.GetSetDescriptorType, types.MemberDescriptorType, types.WrapperDescriptorType, types.MethodDescriptorType,
    types.ClassMethodDescriptorType, types.MethodWrapperType,
    type(dataclasses.MISSING), type(dataclasses.KW_ONLY),
    # These travel by name.
    logging.Logger, logging.RootLogger,
})  # fmt: skip

# Of these the parts may change, but not which parts there are.
_FIXED: dict[type, Callable[[Any], Iterable[object]]] = {
    tuple: iter,
    frozenset: iter,
    slice: lambda value: (value.start, value.stop, value.step),
    staticmethod: lambda value: (value.__func__, vars(value)),
    classmethod: lambda value: (value.__func__, vars(value)),
    property: lambda value: (value.fget, value.fset, value.fdel),
    types.MethodType: lambda value: (value.__self__, value.__func__),
    types.BuiltinFunctionType: lambda value: (value.__self__,),
    types.GenericAlias: lambda value: (value.__origin__, *value.__args__),
    types.UnionType: lambda value: value.__args__,
    functools.cached_property: lambda value: (value.func,),
    LRU_CACHE: lambda value: (value.__wrapped__,),
    functools.partial: lambda value: (value.func, value.args, value.keywords, vars(value)),
    dataclasses.Field: lambda value: (value.type, value.default, value.default_factory),
}

# What the standard library puts in classes that it makes.
_INTERNALS = frozenset({"_DataclassParams", "_tuplegetter"})

_CONTENT = attrgetter("cell_contents")

Read = Callable[[Any], Iterable[object]]


class Footprint:
    """All that a function refers to, directly or through functions and classes that travel with it.

    Everything is compared by identity, and kept alive so that no identity is used twice.

    Args:
        func: The function.

    Attributes:
        codes: The code of every function that travels by value.
        volatile: Something it refers to could change without being noticed.
    """

    def __init__(self, func: object) -> None:
        self.codes: list[types.CodeType] = []
        self.volatile = False
        self._functions: list[tuple[types.FunctionType, types.CodeType, object, object]] = []
        self._reads: list[tuple[Read, object, tuple[object, ...]]] = []
        self._sizes: list[tuple[Collection[object], int]] = []
        self._scopes: dict[int, tuple[dict[str, Any], dict[str, None]]] = {}
        self._absent: list[tuple[Any, frozenset[str]]] = []
        self._modules: int | None = None
        self._seen: dict[int, object] = {}
        self._waiting = [func]
        while self._waiting and len(self._seen) < _MOST:
            self._visit(self._waiting.pop())
        if self._waiting:
            self.volatile = True
        self._waiting.clear()
        self._watch_globals()

    def unchanged(self) -> bool:
        """Whether everything is still what it was."""
        # A submodule that was imported since may have to travel with the package it belongs to.
        if self._modules is not None and len(sys.modules) != self._modules:
            return False
        for func, code, defaults, keyword_defaults in self._functions:
            if (
                func.__code__ is not code
                or func.__defaults__ is not defaults
                or func.__kwdefaults__ is not keyword_defaults
            ):
                return False
        for holder, size in self._sizes:
            if len(holder) != size:
                return False
        return self._reads_are_same()

    def _reads_are_same(self) -> bool:
        try:
            for read, holder, before in self._reads:
                if not all(map(is_, read(holder), before)):
                    return False
        except (LookupError, ValueError, RuntimeError):  # a global is gone, a cell emptied, a set grows in a thread
            return False
        return all(names.isdisjoint(missing) for names, missing in self._absent)

    def _visit(self, value: Any) -> None:
        kind = type(value)
        if kind in _CONSTANT or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if kind in _FIXED:
            self._waiting.extend(_FIXED[kind](value))
        elif kind is types.FunctionType:
            self._function(value)
        elif isinstance(value, type):
            self._class(value)
        elif kind is dict:
            self._mapping(value)
        elif kind is list or kind is set:
            self._sizes.append((value, len(value)))
            self._watch(iter, value, tuple(value))
        elif kind is types.ModuleType:
            self._module(value)
        else:
            self._object(value)

    def _function(self, func: types.FunctionType) -> None:
        if importable(func):
            return
        self.codes.append(func.__code__)
        self._functions.append((func, func.__code__, func.__defaults__, func.__kwdefaults__))
        # Annotations are not watched: they name types, and nobody changes them afterwards.
        self._waiting.extend(func.__annotations__.values())
        self._waiting.extend((func.__defaults__, func.__kwdefaults__, func.__dict__))
        self._cells(func.__closure__)
        scope, names = self._scopes.setdefault(id(func.__globals__), (func.__globals__, {}))
        for name in function_globals(func.__code__):
            names[name] = None
            if name in scope:
                self._waiting.append(scope[name])

    def _cells(self, cells: tuple[types.CellType, ...] | None) -> None:
        if cells is None:
            return
        try:
            contents = tuple(map(_CONTENT, cells))
        except ValueError:  # one is empty yet
            self.volatile = True
            return
        self._watch(functools.partial(map, _CONTENT), cells, contents)

    def _watch_globals(self) -> None:
        for scope, names in self._scopes.values():
            self._entries(scope, [name for name in names if name in scope])
            missing = frozenset(name for name in names if name not in scope)
            if missing:
                self._absent.append((scope.keys(), missing))
        self._waiting.clear()

    def _class(self, kind: type) -> None:
        if importable(kind) or not kind.__flags__ & _HEAP_TYPE:
            return
        space = kind.__dict__
        own = attrgetter("__bases__", "__class__")
        self._watch(own, kind, own(kind))
        self._sizes.append((space, len(space)))
        # Who registered with an abstract class is no part of what tasks do.
        self._entries(space, [name for name in space if name != "_abc_impl"])

    def _mapping(self, value: dict[Any, Any]) -> None:
        self._sizes.append((value, len(value)))
        self._waiting.extend(value)
        self._entries(value, list(value))

    def _entries(self, holder: Any, keys: list[Any]) -> None:
        if keys:
            # With one key itemgetter would give the bare value.
            read = itemgetter(*keys) if len(keys) > 1 else itemgetter(keys[0], keys[0])
            self._watch(read, holder, read(holder))

    def _module(self, module: types.ModuleType) -> None:
        if sys.modules.get(module.__name__) is not module or pickled_by_value(module.__name__):
            self.volatile = True
        elif hasattr(module, "__path__"):
            self._modules = len(sys.modules)

    def _object(self, value: Any) -> None:
        parts = pickled_parts(value)
        if parts is not None:
            self._watch(attrgetter(*parts), value, attrgetter(*parts)(value))
        elif isinstance(value, PurePath):
            return
        elif isinstance(value, enum.Enum):
            self._waiting.append(type(value))
        elif type(value).__module__ == "typing":
            self._waiting.extend((getattr(value, "__origin__", None), getattr(value, "__args__", None)))
        elif type(value).__name__ not in _INTERNALS:
            self.volatile = True

    def _watch(self, read: Read, holder: object, values: tuple[object, ...]) -> None:
        if len(values) > _MOST:
            self.volatile = True
        else:
            self._reads.append((read, holder, values))
            self._waiting.extend(values)
