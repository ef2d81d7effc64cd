"""What the generated classes have in common: an asynchronous object, and the loop that answers for it."""

from __future__ import annotations

import functools
import os
from asyncio import AbstractEventLoop, Lock
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar

from ..current import find_current
from ..errors import OmniQError
from .portal import Closeable, close_at_exit, finish, portal, run

if TYPE_CHECKING:
    from ..app import AsyncOmniQ

A = TypeVar("A")
C = TypeVar("C", bound=Closeable)
P = ParamSpec("P")
T = TypeVar("T", bound="Twin[Any]")
V = TypeVar("V")

_END: Any = object()
_left_to_the_parent: list[object] = []
"""What a forked child must neither use nor finalize: it would close a connection that the parent works on."""


class Home:
    """Says on which loop an object's calls run: here, on the portal's."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def loop(self) -> AbstractEventLoop:
        """The loop.

        Raises:
            OmniQError: There is none any more.
        """
        if self._pid != os.getpid():
            self._forked()
            self._pid = os.getpid()
        return portal().loop

    def _forked(self) -> None:
        raise OmniQError("this object was opened before the process forked: make a new one in the child")


class AppHome(Home):
    """The loop that an app was opened on, wherever that is; the portal's for one that is still to be opened.

    Args:
        find_app: Gives the app.
        is_own: The app was made by its twin, so that a forked child may open it anew.
    """

    def __init__(self, find_app: Callable[[], AsyncOmniQ | None], *, is_own: bool = False) -> None:
        super().__init__()
        self._find_app = find_app
        self._is_own = is_own

    def loop(self) -> AbstractEventLoop:
        at_portal = super().loop()
        app = self._find_app()
        parts = None if app is None else app._parts  # noqa: SLF001 -- the twin stands on its app's inside
        return at_portal if parts is None else parts.loop

    def _forked(self) -> None:
        app = self._find_app()
        if not self._is_own or app is None:
            super()._forked()
        else:
            _left_to_the_parent.append((app._parts, app._opening, app._pools))  # noqa: SLF001 -- see above
            app._parts, app._opening, app._pools = None, None, []  # noqa: SLF001 -- see above
            close_at_exit(app)


class Twin(Generic[A]):
    """A synchronous object over an asynchronous one.

    Args:
        inner: The asynchronous object.
        home: Where its calls run.
    """

    def __init__(self, inner: A, home: Home) -> None:
        self._async = inner
        self._home = home
        func = getattr(inner, "__wrapped__", None)
        if func is not None:
            twin: Any = self
            functools.update_wrapper(twin, func)

    def _name(self, method: str) -> str:
        name = type(self).__name__
        return f"`with {name}`" if method in {"__aenter__", "__aexit__"} else f"{name}.{method}()"

    def _run(self, coroutine: Coroutine[Any, Any, V]) -> V:
        """What the coroutine gives."""
        try:
            loop = self._home.loop()
        except OmniQError:
            coroutine.close()
            raise
        return run(coroutine, loop, self._name(getattr(coroutine, "__name__", "call")))

    def _call(self, func: Callable[P, V], *args: P.args, **kwargs: P.kwargs) -> V:
        """What a plain function gives that has to be called on the loop."""

        async def call() -> V:
            return func(*args, **kwargs)

        return run(call(), self._home.loop(), self._name(func.__name__))

    def _iterate(self, values: AsyncIterator[V], method: str) -> Iterator[V]:
        """The values, one by one; the asynchronous iterator is closed with this one."""
        loop, stream = self._home.loop(), _Stream(values)
        try:
            while (value := run(stream.next(), loop, self._name(method))) is not _END:
                yield value
        finally:
            finish(stream.close(), loop)

    def _own(self, value: Any) -> Any:
        """The twin, for what is its asynchronous object itself."""
        return self if value is self._async else value

    def __eq__(self, other: object) -> bool:
        return self._async == other._async if isinstance(other, Twin) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._async)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._async)

    def __repr__(self) -> str:
        return repr(self._async).replace(type(self._async).__name__, type(self).__name__, 1)


def inner(twin: Twin[A]) -> A:
    """The asynchronous object of a twin."""
    return twin._async  # noqa: SLF001 -- this is the one way to it


def given(cls: type[T], inner: Any, home: Home) -> T:
    """A twin of an object that is there already, where the class itself would make a new one."""
    twin = cls.__new__(cls)
    Twin.__init__(twin, inner, home)
    return twin


def _rebuild(cls: type[T], inner: Any) -> T:
    """A twin that travelled to another process: there the current app answers for it."""
    return given(cls, inner, AppHome(find_current))


class _Stream(Generic[V]):
    """An asynchronous iterator that is asked from another thread; a cancelled question ends before the next one."""

    def __init__(self, values: AsyncIterator[V]) -> None:
        self._values = values
        self._asking = Lock()

    async def next(self) -> V:
        async with self._asking:
            value: V = await anext(self._values, _END)
            return value

    async def close(self) -> None:
        aclose = getattr(self._values, "aclose", None)
        if aclose is not None:
            async with self._asking:
                await aclose()


class Made(Twin[C]):
    """A twin that makes its asynchronous object itself, and has it closed when the interpreter ends."""

    def _adopt(self, inner: C) -> None:
        Twin.__init__(self, inner, self._home_of(inner))
        close_at_exit(inner)

    @staticmethod
    def _home_of(inner: C) -> Home:  # noqa: ARG004 -- an app has a home of another kind
        return Home()

    @classmethod
    def _of(cls, inner: C) -> Self:
        twin = cls.__new__(cls)
        twin._adopt(inner)  # noqa: SLF001 -- one's own class
        return twin


class AppTwin(Made["AsyncOmniQ"]):
    """What `OmniQ` has beside the methods of `AsyncOmniQ`."""

    def _adopt(self, inner: AsyncOmniQ) -> None:
        inner._becomes_current = False  # noqa: SLF001 -- the twin stands on its app's inside
        super()._adopt(inner)

    @staticmethod
    def _home_of(inner: AsyncOmniQ) -> Home:
        return AppHome(lambda: inner, is_own=True)

    @classmethod
    def over(cls, app: AsyncOmniQ) -> Self:
        """A blocking face of an app that is open already, for threads beside its event loop.

        Its calls run on the app's own loop, so code on that loop can't use it: it gets a `DeadlockError`.

        Example:
            >>> blocking = OmniQ.over(omniq.current())
            >>> await asyncio.to_thread(blocking.enqueue, "fetch", [url])
        """
        return given(cls, app, AppHome(lambda: app))


class DisplayedTwin:
    """Shows itself in a notebook as its asynchronous object does."""

    def _repr_mimebundle_(self: Any, **options: Any) -> Any:
        return inner(self)._repr_mimebundle_(**options)
