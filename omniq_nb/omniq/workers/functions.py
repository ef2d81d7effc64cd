"""From a task to the function that it calls: registered here, or shipped with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from ..errors import SerializationError, UnknownFunctionError
from ..models.record import Insert, Record
from ..models.task import TaskSpec
from ..registry import Registered, Registry, is_coroutine
from ..shipping import ShippedFunction, load_shipped
from ..signing import Signer
from ..storage.driver import Driver

FUNCTION = "function"
"""Kind of a shipped function's record; its key is the function's digest."""


class Callee(Protocol):
    """A function that is ready to be called."""

    @property
    def func(self) -> Callable[..., Any]:
        """The function."""

    @property
    def is_coroutine(self) -> bool:
        """Calling it gives a coroutine."""


class _Loaded(msgspec.Struct, frozen=True):
    func: Callable[..., Any]
    is_coroutine: bool


class FunctionSource:
    """Finds functions by a task's name and digest, and stores those that travel by value.

    Args:
        driver: The tasks' store, where shipped functions lie too.
        registries: Looked through in this order.
        signer: What it did not sign is not loaded.
    """

    def __init__(self, driver: Driver, registries: tuple[Registry, ...], signer: Signer) -> None:
        self._driver = driver
        self._registries = registries
        self._signer = signer
        self._loaded: dict[tuple[str, str], Callee] = {}
        self._stored: set[str] = set()

    def ready(self, spec: TaskSpec) -> Callee | None:
        """The function, if it can be had without asking the store."""
        if spec.code is not None:
            return self._loaded.get((spec.func, spec.code))
        for registry in self._registries:
            if (entry := registry.find(spec.func)) is not None:
                return entry
        return None

    async def resolve(self, spec: TaskSpec) -> Callee:
        """The function.

        Raises:
            UnknownFunctionError: It is not registered here, and was not shipped or is gone from the store.
            SignatureError: It was shipped by someone with another secret.
            SerializationError: It can't be loaded in this process.
        """
        if (found := self.ready(spec)) is not None:
            return found
        if spec.code is None or (resolved := self._live(spec) or await self._load(spec.func, spec.code)) is None:
            raise UnknownFunctionError(spec.func, [name for registry in self._registries for name in registry.names()])
        self._loaded[spec.func, spec.code] = resolved
        return resolved

    def _live(self, spec: TaskSpec) -> Callee | None:
        """The function of this very process, if it is the one that was shipped: it shares the kernel's objects."""
        for registry in self._registries:
            entry = registry.find(spec.func)
            if entry is not None and entry.must_ship and self._digest(entry) == spec.code:
                return entry
        return None

    def _digest(self, entry: Registered) -> str | None:
        try:
            return entry.shipper(self._signer).ship().digest
        except SerializationError:
            return None  # it refers to something else by now, so it is not what was shipped

    async def _load(self, name: str, digest: str) -> Callee | None:
        (record,) = await self._driver.get([(FUNCTION, digest)])
        if record is None:
            return None
        shipped = msgspec.msgpack.decode(record.body, type=ShippedFunction)
        func = load_shipped(shipped.code, self._signer, name)
        return _Loaded(func, is_coroutine(func))

    def has_stored(self, shipped: ShippedFunction) -> bool:
        """Whether this process has put it into the store."""
        return shipped.digest in self._stored

    async def store(self, shipped: ShippedFunction) -> None:
        """Put a shipped function into the store."""
        now = self._driver.clock()
        body = msgspec.msgpack.encode(shipped)
        record = Record(FUNCTION, shipped.digest, "", "", 0, None, None, 0, 1, now, now, None, body)
        await self._driver.write([Insert(record)])  # one that is there already is the same: the key is its digest
        self._stored.add(shipped.digest)
