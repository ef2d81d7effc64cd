"""The log of an object store: reading on, and adding to it, so that nobody ever adds to it in the wrong place.

Commit N+1 is the creation of an object of that name, and whoever creates it has read commit N. So there is one order of
all changes, and a store behind the times can't be written: the creation fails. The one danger is a name that becomes
free again. Commits are deleted once a checkpoint holds what they say, and a process that was suspended meanwhile would
find the name after its last commit free. Therefore: a commit is deleted only if everybody could have read it for
`ObjectStore.grace` seconds, and a process that has been out of touch for a third of that believes a free name only
when there is no checkpoint after it. (A checkpoint's object comes before the deletions that it allows, and the latest
stays.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol, TypeVar

from ..errors import StoreCorruptError, StoreUnavailableError
from ..storage.parallel import in_parallel
from .objects_format import (
    CHECKPOINTS,
    LOG,
    Commit,
    Manifest,
    Run,
    RunBody,
    checkpoint_name,
    commit_name,
    number_of,
    unpack,
)
from .objects_state import Changes, Listener, Replica, State, makes_claimable, seconds_now
from .objects_store import ObjectStore

_OUT_OF_TOUCH = 1 / 3
_LOADS = 8
_LONGEST_STRETCH = 32

_T = TypeVar("_T")


class Call(Protocol):
    """See `RemoteDriver.call`."""

    async def __call__(self, operation: Callable[[], Awaitable[_T]], *, repeat: bool = False) -> _T: ...


class Log:
    """One driver's way to the log.

    Args:
        url: For messages.
        store: Its objects.
        replica: What was read so far.
        call: Talks to the store.
        listener: The driver.
    """

    def __init__(self, url: str, store: ObjectStore, replica: Replica, call: Call, listener: Listener) -> None:
        self._url = url
        self._store = store
        self._replica = replica
        self._call = call
        self._listener = listener
        self._stretch = 1
        self._next_look: asyncio.Task[None] | None = None
        self._look: asyncio.Task[None] | None = None

    # --- single objects ---

    @property
    def parallel(self) -> int:
        """How many objects `get_all` asks for at once."""
        return self._store.parallel

    async def get(self, name: str) -> bytes | None:
        """An object's bytes."""
        return await self._call(lambda: self._store.get(name), repeat=True)

    async def get_all(self, names: list[str]) -> list[bytes | None]:
        """Several objects' bytes, a bounded number at a time."""
        if self._store.looks_cheaply:
            return [await self.get(name) for name in names]
        return await in_parallel(self.get, names, limit=self._store.parallel)

    async def create(self, name: str, data: bytes) -> bool:
        """Create an object; safe to repeat, as names are unique or their content tells whose it is."""
        return await self._call(lambda: self._store.create(name, data), repeat=True)

    async def create_all(self, objects: Mapping[str, bytes]) -> None:
        """Create several objects, a bounded number at a time."""
        await in_parallel(lambda each: self.create(*each), objects.items(), limit=self._store.parallel)

    async def delete(self, names: Collection[str]) -> None:
        """Delete objects."""
        await self._call(lambda: self._store.delete(names), repeat=True)

    async def names(self, prefix: str, after: str) -> list[str]:
        """See `ObjectStore.names`."""
        return await self._call(lambda: self._store.names(prefix, after), repeat=True)

    async def all_names(self, prefix: str, after: str = "") -> list[str]:
        """Every name with the prefix after another one."""
        names: list[str] = []
        while True:
            page = await self.names(prefix, after)
            if not page:
                return names
            names += page
            after = page[-1]

    # --- reading on ---

    async def refresh(self) -> None:
        """See everything that was committed before this call. Calls that come during a look share the next one."""
        if self._store.looks_cheaply:
            await self.catch_up()
            return
        if self._next_look is None:
            self._next_look = asyncio.create_task(self._look_after(self._look))
            self._next_look.add_done_callback(_retrieve)
        await asyncio.shield(self._next_look)

    async def _look_after(self, look: asyncio.Task[None] | None) -> None:
        if look is not None:
            await asyncio.wait([look])
        self._look, self._next_look = self._next_look, None
        await self.catch_up()

    async def settle_down(self) -> None:
        """Wait for looks that are under way."""
        for look in (self._look, self._next_look):
            if look is not None:
                await asyncio.wait([look])

    async def catch_up(self, *, to_the_end: bool = True) -> bool:
        """Read on; says whether the end was reached.

        Args:
            to_the_end: Else one step will do.
        """
        if not self._replica.loaded:
            await self.load()
        while True:
            began = seconds_now()
            if await self._read_stretch():
                if await self.is_in_touch(began):
                    return True
                await self.load()
            elif not to_the_end:
                return False

    async def _read_stretch(self) -> bool:
        """Read the next few commits, twice as many each time; says whether the end was among them."""
        first = self._replica.state.position + 1
        found = await self.get_all([commit_name(first + n) for n in range(self._stretch)])
        for n, data in enumerate(found):
            if data is None:
                self._stretch = 1
                return True
            self._apply(first + n, data)
        if not self._store.looks_cheaply:
            self._stretch = min(2 * self._stretch, _LONGEST_STRETCH)
        return False

    def _apply(self, number: int, data: bytes) -> None:
        commit = unpack(data, Commit, self._url, commit_name(number))
        with self._replica.lock:
            state = self._replica.state
            if state.position != number - 1:
                return  # another driver of this process was faster
            changes = state.changes_of(commit)
            state.apply(number, changes, commit.now, len(data))
        self._replica.tell(claimable=makes_claimable(changes), writer=None)

    async def is_in_touch(self, began: float) -> bool:
        """Whether the name after the last commit was truly free at a moment since ``began``."""
        replica = self._replica
        if seconds_now() - replica.contact > self._store.grace * _OUT_OF_TOUCH:
            began = seconds_now()
            latest = await self.latest_checkpoint()
            if latest is not None and latest > replica.state.position:
                return False
        replica.touch(began)
        return True

    # --- adding ---

    async def append(self, number: int, data: bytes, token: str, contact: float) -> bool:
        """Create a commit; ``False``: somebody else has.

        Args:
            number: The commit's.
            data: The object's.
            token: The commit's.
            contact: `Replica.contact` when the number was the next.

        Raises:
            StoreUnavailableError: It can't be told.
        """
        name = commit_name(number)
        if not await self.create(name, data):
            # Perhaps an earlier try got through whose answer was lost.
            there = await self.get(name)
            if there is None or unpack(there, Commit, self._url, name).token != token:
                return False
        if seconds_now() - contact > self._store.grace * _OUT_OF_TOUCH:
            latest = await self.latest_checkpoint()
            if latest is not None and latest >= number:
                self._replica.loaded = False
                detail = "this process was out of touch with the store for too long"
                raise StoreUnavailableError(self._url, detail, sent=True)
        return True

    def applied(self, number: int, changes: Changes, now: int, size: int, began: float) -> list[str]:
        """Take in a commit that was just created here; gives the blobs that no record names any more."""
        with self._replica.lock:
            state = self._replica.state
            if state.position >= number:
                return []  # another driver of this process has read it already
            dropped = state.apply(number, changes, now, size)
            self._replica.touch(began)
            return dropped

    # --- loading ---

    async def latest_checkpoint(self) -> int | None:
        """The number of the latest checkpoint."""
        names = await self.all_names(CHECKPOINTS)
        return number_of(names[-1]) if names else None

    async def load(self) -> None:
        """Read the store from its latest checkpoint on.

        Raises:
            StoreCorruptError: Something is missing.
        """
        for _ in range(_LOADS):
            began = seconds_now()
            state = await self._load_checkpoint(await self.latest_checkpoint())
            # None: a newer checkpoint has taken its place meanwhile.
            if state is not None and await self._load_tail(state):
                break
        else:
            raise StoreCorruptError(self._url, "objects that its checkpoint names are missing")
        replica = self._replica
        with replica.lock:
            if state.position >= replica.state.position:
                replica.state = state
            replica.loaded = True
            replica.touch(began)
        replica.tell(claimable=True, writer=None)

    async def _load_checkpoint(self, number: int | None) -> State | None:
        state = State()
        if number is None:
            return state
        name = checkpoint_name(number)
        data = await self.get(name)
        if data is None:
            return None
        manifest = unpack(data, Manifest, self._url, name)
        runs = (*manifest.checkpoint.base, *manifest.checkpoint.runs)
        state.begin_at(manifest)
        return state if await self._load_runs(state, runs) else None

    async def _load_runs(self, state: State, runs: tuple[Run, ...]) -> bool:
        step = self._store.parallel
        for start in range(0, len(runs), step):
            names = [run.name for run in runs[start : start + step]]
            for name, data in zip(names, await self.get_all(names), strict=True):
                if data is None:
                    return False
                state.load(unpack(data, RunBody, self._url, name), 0)
                await asyncio.sleep(0)
        return True

    async def _load_tail(self, state: State) -> bool:
        """Read the commits after the checkpoint, without a gap: what is missing was deleted, for a newer checkpoint."""
        names = await self.all_names(LOG, commit_name(state.position))
        last = number_of(names[-1]) if names else 0
        while state.position < last:
            first = state.position + 1
            page = [commit_name(number) for number in range(first, min(first + self._store.parallel, last + 1))]
            for number, data in enumerate(await self.get_all(page), start=first):
                if data is None:
                    return False
                commit = unpack(data, Commit, self._url, commit_name(number))
                state.apply(number, state.changes_of(commit), commit.now, len(data))
        return True


def _retrieve(task: asyncio.Task[None]) -> None:
    """Whoever waited has the error; if nobody waits any more, nobody wants it."""
    if not task.cancelled():
        task.exception()
