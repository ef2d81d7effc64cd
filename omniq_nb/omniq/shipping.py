"""Functions that a worker can't import travel by value: functions of a cell or script, closures, lambdas."""

from __future__ import annotations

import functools
import hashlib
import inspect
import linecache
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from operator import is_
from typing import TYPE_CHECKING, Any

import msgspec

from ._culprits import largest, pickled_size, refusal, unpicklable
from ._footprint import Footprint
from ._pickling import importable, pickle_bytes, unseal
from .errors import LargePayloadWarning

if TYPE_CHECKING:
    from .signing import Signer

LARGE = 100_000
"""Functions that take more bytes than this are warned about."""

AnyFunction = Callable[..., Any]
Block = tuple[str, int, str]
"""File name, number of the first line, text."""

_installed: dict[str, list[str]] = {}


class ShippedFunction(msgspec.Struct, frozen=True):
    """A function as it lies in the store.

    Attributes:
        name: The name that tasks call it by.
        digest: SHA-256 of ``code``, in hexadecimal: its key in the store.
        code: The signed pickle.
        source: Its source, to show; empty where there is none.
    """

    name: str
    digest: str
    code: bytes
    source: str


def must_ship(func: AnyFunction) -> bool:
    """Whether a worker could not import ``func``, so that it has to travel by value."""
    if isinstance(func, functools.partial):
        return True
    if not isinstance(func, types.FunctionType | types.BuiltinFunctionType | type):
        return True
    if "<" in func.__qualname__ or not _importable_module(func.__module__):
        return True
    return not (importable(func) or _stands_in_for(func))


def _importable_module(name: str | None) -> bool:
    if not name or name == "__main__":
        return False
    module = sys.modules.get(name)
    return module is not None and getattr(module, "__spec__", None) is not None


def _stands_in_for(func: AnyFunction) -> bool:
    """Whether the module holds, under the function's name, what a decorator made of it; or nothing yet."""
    found: Any = sys.modules[func.__module__]
    for part in func.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is None:
        return bool(getattr(sys.modules[func.__module__].__spec__, "_initializing", False))
    return any(getattr(found, attribute, None) is func for attribute in ("__wrapped__", "func"))


class FunctionShipper:
    """Pickles a function, and again only when what it refers to has changed.

    The function travels with the globals and closure variables that it uses, as they are when it is shipped.

    Args:
        func: The function.
        name: The name that tasks call it by.
        signer: Signs the pickle.
    """

    def __init__(self, func: AnyFunction, name: str, signer: Signer) -> None:
        self._func, self._name, self._signer = func, name, signer
        self._footprint: Footprint | None = None
        self._payload = b""
        self._warned = 0
        self._codes: list[types.CodeType] = []
        self._sources: list[Block] = []
        self._source = ""
        self._shipped: ShippedFunction | None = None

    def ship(self) -> ShippedFunction:
        """The function as it is now.

        Raises:
            SerializationError: It refers to something that can't be pickled; the message names it.
        """
        footprint = self._footprint
        if footprint is not None and not footprint.volatile and footprint.unchanged() and self._shipped is not None:
            return self._shipped
        return self._ship_again(footprint)

    def _ship_again(self, footprint: Footprint | None) -> ShippedFunction:
        if footprint is None or not footprint.unchanged():
            # Before pickling: what changes meanwhile is then noticed the next time.
            footprint = Footprint(self._func)
            self._find_sources(footprint.codes)
        payload = self._pickle()
        if self._shipped is None or payload != self._payload:
            self._shipped = self._sign(payload)
        self._payload, self._footprint = payload, footprint
        return self._shipped

    def _find_sources(self, codes: list[types.CodeType]) -> None:
        # Finding source takes milliseconds, and a function whose globals change keeps its code.
        if len(codes) != len(self._codes) or not all(map(is_, codes, self._codes)):
            self._codes, self._sources = codes, sorted(_blocks(codes))
            self._source = source_of(self._func)

    def _pickle(self) -> bytes:
        try:
            return pickle_bytes((self._func, self._sources))
        except Exception as error:
            # Pickling calls whatever the values' classes define, so anything can be raised.
            path, part = unpicklable(self._func, f"the function {self._name!r}")
            raise refusal(part, path, error) from error

    def _sign(self, payload: bytes) -> ShippedFunction:
        if len(payload) > LARGE and len(payload) > 2 * self._warned:
            self._warned = len(payload)
            self._warn(len(payload))
        code = self._signer.sign(payload, _context(self._name))
        return ShippedFunction(self._name, hashlib.sha256(code).hexdigest(), code, self._source)

    def _warn(self, size: int) -> None:
        what = f"the function {self._name!r}"
        culprit = largest(self._func, what, pickled_size)
        remedy = "it travels again whenever it changes, so pass it as an argument or load it inside the function"
        warnings.warn(LargePayloadWarning(what, size, culprit, remedy), stacklevel=5)


def load_shipped(code: bytes, signer: Signer, name: str) -> AnyFunction:
    """The function that ``code`` carries. Its source lines come with it, for tracebacks and `inspect.getsource`.

    Args:
        code: The signed pickle.
        signer: Checks it.
        name: The name that it was shipped under.

    Raises:
        SignatureError: It was not signed with this secret, or for another name; nothing was unpickled.
        SerializationError: It can't be unpickled in this process.
    """
    shipped: Any = unseal(code, signer, f"the function {name!r}", _context(name))
    func: AnyFunction = shipped[0]
    for block in shipped[1]:
        _install(*block)
    return func


def source_of(func: AnyFunction) -> str:
    """A function's source, or nothing where it has none."""
    try:
        return inspect.getsource(func)
    except (OSError, TypeError):
        return ""


def _context(name: str) -> str:
    return f"function {name}"


def _blocks(codes: Iterable[types.CodeType]) -> Iterator[Block]:
    for code in codes:
        try:
            lines, first = inspect.getsourcelines(code)
        except (OSError, TypeError):
            continue
        yield code.co_filename, max(first, 1), "".join(lines)


def _install(filename: str, first: int, text: str) -> None:
    """Put a function's lines where `linecache` finds them, in their places, between those that came before."""
    known = linecache.getlines(filename)
    if known and known is not _installed.get(filename):
        return  # the file is here, or the cell was run here
    lines = text.splitlines(keepends=True)
    merged = known + ["\n"] * (first - 1 + len(lines) - len(known))
    merged[first - 1 : first - 1 + len(lines)] = lines
    _installed[filename] = merged
    # Without a modification time the entry is never checked against the disk.
    linecache.cache[filename] = (sum(map(len, merged)), None, merged, filename)
