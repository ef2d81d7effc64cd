"""The worker pool: claims what it has room for, runs it, and writes what came of it."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import msgspec

from ..clock import SECOND
from ..core.retry import class_names
from ..core.settlement import Claimed, ClaimToken, Ended, Outcome, Raised, Released, Settlement, refuse
from ..errors import LeaseLost, NotOpenError, OptionError, StoreError, StoreUnavailableError, ValueTooLargeError
from ..failures import describe_error
from ..models.event import TaskEvent
from ..models.task import TASK, TaskStatus
from ..models.worker import DEFAULT_CONCURRENCY, WorkerType
from ..serialization import Serializer
from ..storage.endings import Ending, each_of
from ..storage.large import LargeValues
from ..storage.queue import BaseTaskQueue
from ..storage.watch import Watcher
from ..storage.workers import WorkerInfo
from .attempt import Attempts
from .executors import executor_for
from .functions import FunctionSource
from .heartbeat import Heartbeat, Stores
from .outage import Outage

logger = logging.getLogger("omniq")

GRACE_SECONDS = 10.0
_INTERRUPTED_SECONDS = 1.0
_PARTING_SECONDS = 10.0
"""So long after the grace a pool that is being stopped still waits for a store that does not answer."""
_LOOK_AGAIN_SECONDS = 0.005
_RETRY_STORE_SECONDS = 1.0
_MOST_UNSETTLED = 1000
"""With so many outcomes that can't be written yet, no more tasks are begun: where the results' store is away, a worker
would else run all there is for nothing, should it end before that store is back.
"""
_DRAIN_POLL_SECONDS = 0.2
_DRAIN_LOOK_SECONDS = 0.005

_TAKE, _WRITE, _COUNT = "take tasks", "write what came of tasks", "count the tasks that are left"


class _GivenUpError(Exception):
    """The pool ends, and the store is still away."""


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """See `Config` for the durations, all in seconds."""

    lease: float = 30.0
    heartbeat: float = 10.0
    poll_interval: float = 1.0


class WorkerPool:
    """Runs tasks, at most ``concurrency`` at a time, on the loop that it is started on.

    Args:
        queue: Where tasks come from.
        functions: Finds their functions.
        serializer: Reads arguments, writes values.
        stores: For the heartbeat's thread.
        kind: How tasks are run.
        concurrency: How many at a time.
        queues: In order of preference; ``None``: every queue.
        settings: Lease, heartbeat and poll interval.
        large: Where large arguments and results are, if they have a store of their own.
    """

    def __init__(
        self,
        queue: BaseTaskQueue,
        functions: FunctionSource,
        serializer: Serializer,
        stores: Stores,
        *,
        kind: WorkerType = WorkerType.ASYNC,
        concurrency: int = DEFAULT_CONCURRENCY,
        queues: Sequence[str] | None = None,
        settings: PoolSettings | None = None,
        large: LargeValues | None = None,
    ) -> None:
        if type(concurrency) is not int or concurrency < 1:
            raise OptionError(f"concurrency must be a whole number of at least 1, not {concurrency!r}")
        if isinstance(queues, str):
            raise OptionError(f"queues must be a list of names: write [{queues!r}]")
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.kind = WorkerType(kind)
        self.concurrency = concurrency
        self.queues = None if queues is None else list(queues)
        self._queue = queue
        self._settings = settings or PoolSettings()
        self._executor = executor_for(self.kind, concurrency, self._wake)
        self._attempts = Attempts(functions, serializer, self._executor, large)
        self._outage = Outage(self.id)
        self._started_at = datetime.now(UTC)
        # By id and version: after a lost lease this very worker may hold the same task again, under a newer claim.
        self._running: dict[ClaimToken, tuple[Claimed, asyncio.Task[None]]] = {}
        self._lost: set[ClaimToken] = set()
        self._unsettled: dict[ClaimToken, Claimed] = {}
        self._finished: list[Ended] = []
        self._settling: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._hints: Watcher | None = None
        self._hinted_at = 0.0
        self._looks = self._last_empty_look = 0
        self._hands_over = queue.driver.capabilities.hands_over
        self._stopping = self._hurried = False
        self._parting: asyncio.TimerHandle | None = None
        self._parted = asyncio.Event()
        self._ending = Ending()
        self._claiming: asyncio.Task[None] | None = None
        self._heartbeat = Heartbeat(
            stores,
            self.id,
            running=self._running_now,
            info=self._info,
            on_lost=self._lost_from_thread,
            on_beating=self._wake_from_thread,
            is_orphan=self._is_orphan,
            lease=self._settings.lease,
            interval=self._settings.heartbeat,
            outage=self._outage,
        )

    def _clock(self) -> int:
        return self._queue.driver.clock()  # some drivers learn their store's time when they open

    # --- life cycle ---

    async def start(self) -> None:
        """Begin to take tasks."""
        if self._claiming is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._heartbeat.start()
        self._claiming = asyncio.create_task(self._claim_forever(), name=f"omniq-worker-{self.id}")

    async def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Take no more tasks, let those that run end, and hand back what has not ended after ``grace`` seconds.

        What came of tasks and can't be written by then, since the store is away, is lost: they run again. For a store
        that does not answer it waits some seconds longer.

        What was begun goes on when the call is interrupted, and hands back at once then.
        """
        if self._claiming is None:
            return
        patience = asyncio.get_running_loop().call_later(grace, self._hurry)
        try:
            await self._ending.run(self._stop)
        except asyncio.CancelledError:
            self._hurry()
            raise
        finally:
            patience.cancel()

    def _hurry(self) -> None:
        """Wait no longer for tasks that run, nor for a store that is away, where the pool is being stopped."""
        self._hurried = True
        self._changed.set()
        if self._stopping:
            self._part_soon()

    def _part_soon(self) -> None:
        if self._parting is None and not self._parted.is_set():
            self._parting = self._loop.call_later(_PARTING_SECONDS, self._parted.set)

    async def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._wake()
        if self._hurried:
            self._part_soon()
        try:
            # Whatever goes wrong before, the heartbeat must end: it would keep the leases for ever.
            await each_of(self._let_end, self._finish_settling, self._queue.flush_events, self._heartbeat.stop)
        finally:
            self._executor.close()
            self._parted.set()
            if self._parting is not None:
                self._parting.cancel()

    async def _let_end(self) -> None:
        try:
            if self._claiming is not None and not self._claiming.cancelled():
                await self._end(self._claiming)
            while self._running and not self._hurried:
                self._changed.clear()
                await self._changed.wait()
        finally:
            await self._hand_back()

    async def _finish_settling(self) -> None:
        while self._settling is not None:
            await self._end(self._settling)

    async def _end(self, work: asyncio.Task[None]) -> None:
        """Wait for work at the store, and break it off where that does not answer."""
        parted = asyncio.create_task(self._parted.wait())
        try:
            await asyncio.wait([work, parted], return_when=asyncio.FIRST_COMPLETED)
        finally:
            parted.cancel()
        if work.done():
            work.result()
        else:
            work.cancel()
            await asyncio.wait([work])

    async def _hand_back(self) -> None:
        for claimed, task in list(self._running.values()):
            self._lost.add(claimed.token)  # what it may still come to does not count
            self._finish(claimed, claimed.token, Released(), self._clock())
            task.cancel()

    async def drain(self, *, delayed: bool = False) -> None:
        """Wait until nothing is left to do: no task of these queues is due or runs, here or at any other worker.

        Args:
            delayed: Wait for those that become due later too, retries among them.
        """
        left = (TaskStatus.RUNNING, TaskStatus.PENDING) if delayed else (TaskStatus.RUNNING,)
        counts: dict[tuple[str, str], int] | None = None
        while True:
            await self._until_idle()
            # A task may have sent others off after the look that found nothing, and ended, here or at another worker.
            # So two looks must find nothing, and nothing have changed between them.
            try:
                before, counts = counts, await self._counts()
            except StoreUnavailableError as error:
                self._outage.failed(_COUNT, error)
                await asyncio.sleep(_RETRY_STORE_SECONDS)
                continue
            self._outage.worked(_COUNT)
            if any(state in left for _, state in counts):
                await asyncio.sleep(_DRAIN_POLL_SECONDS)
            elif counts == before:
                return

    async def _until_idle(self) -> None:
        look = self._looks + 1  # only one that begins from now on has seen what was enqueued until now
        while self._last_empty_look < look or self._running or self._settling is not None:
            if self._claiming is None or self._claiming.done():
                raise NotOpenError(type(self).__name__)
            self._wake()
            await asyncio.sleep(_DRAIN_LOOK_SECONDS)

    async def _counts(self) -> dict[tuple[str, str], int]:
        counts = await self._queue.driver.count(TASK)
        return {group: n for group, n in counts.items() if self._serves(group[0])}

    @property
    def abandoned(self) -> int:
        """Threads that still run what was cancelled or handed back."""
        return self._executor.abandoned

    def _serves(self, queue: str) -> bool:
        return self.queues is None or queue in self.queues

    def _wake(self) -> None:
        self._changed.set()
        if self._hints is not None:
            self._hints.wake()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, asyncio.CancelledError | KeyboardInterrupt)
        # Whoever interrupts wants an end soon: what has not ended then is handed back.
        await self.stop(_INTERRUPTED_SECONDS if interrupted else GRACE_SECONDS)

    # --- claiming ---

    async def _claim_forever(self) -> None:
        lease = round(self._settings.lease * SECOND)
        with self._queue.driver.watch(claimable=True) as hints:
            self._hints = hints
            self._hinted_at = time.monotonic()  # of what was before, nobody told
            while not self._stopping:
                if hints.clear():
                    self._hinted_at = time.monotonic()
                self._changed.clear()
                room = self._room()
                if room <= 0:
                    await self._changed.wait()
                elif pause := await self._look(room, lease):
                    await hints.wait(pause)
            self._hints = None
            await self._stand_no_more()

    def _room(self) -> int:
        """How many more tasks may run now."""
        if len(self._unsettled) >= _MOST_UNSETTLED:
            return 0
        return self.concurrency - len(self._running) - self._executor.abandoned

    async def _look(self, room: int, lease: int) -> float:
        """Claim and begin what there is, if the store is there; gives the seconds to wait before the next look."""
        try:
            pause = await self._claim(room, lease)
        except NotOpenError:
            raise
        except Exception as error:  # noqa: BLE001 -- a worker lives on, and it is logged
            self._outage.failed(_TAKE, error)
            return _RETRY_STORE_SECONDS
        self._outage.worked(_TAKE)
        return pause

    async def _claim(self, room: int, lease: int) -> float:
        self._looks += 1
        look = self._looks
        began = self._loop.time()
        # One that is busy may be about to block its loop, and must not be given tasks that others could run. Nor must
        # one that has no heartbeat yet: what is handed over has a short lease, which the heartbeat makes longer.
        standing = not self._running and self._heartbeat.is_beating
        claimed = await self._queue.claim(self.id, room, lease, self.queues, standing=standing)
        blocked = self._loop.time() - began > self._settings.lease - self._settings.heartbeat
        were_handed_over = bool(claimed) and claimed[0].lease < lease
        for task in claimed:
            if (blocked or were_handed_over) and self._is_late(task):
                self._finish(task, task.token, Released(), self._clock())
            else:
                self._begin(task)
        if len(claimed) == room:
            return 0
        if claimed:
            # That was all, it seems. The look that makes sure of it is not to be in the way of these tasks.
            return _LOOK_AGAIN_SECONDS
        self._last_empty_look = look
        return await self._seconds_to_next()

    def _is_late(self, claimed: Claimed) -> bool:
        """Whether the lease may end before the first heartbeat, where something has blocked the loop since the claim.

        No heartbeat could know of the claim, so another worker may have the task by now, and running it here too would
        be once too often. (Both clocks are asked: the store's own may differ from this machine's.)
        """
        left = (claimed.record.due_at or 0) - self._clock()
        return left < min(self._settings.heartbeat * SECOND, claimed.lease / 2)

    async def _stand_no_more(self) -> None:
        """Give back what was handed over and is not wanted any more."""
        try:
            for task in await self._queue.stand_no_more(self.id):
                self._finish(task, task.token, Released(), self._clock())
        except StoreError as error:
            logger.debug("what may have been handed over comes to others with the end of its lease: %s", error)

    async def _seconds_to_next(self) -> float:
        """Until the next look: when a task becomes due, when a queue may have been paused or resumed unnoticed, and the
        poll interval at most.
        """
        due_at = await self._queue.driver.next_due(TASK)
        longest = min(self._settings.poll_interval, max(self._queue.good_for(self.id, self._hinted_at), 0.001))
        if due_at is None:
            return longest
        # A millisecond is added, since waking a moment too early would cost another round.
        wait = (due_at - self._clock()) / SECOND + 0.001
        return min(max(wait, 0.001), longest)

    # --- running ---

    def _begin(self, claimed: Claimed) -> None:
        token = claimed.token
        self._running[token] = (claimed, self._loop.create_task(self._run(claimed, token)))

    async def _run(self, claimed: Claimed, token: ClaimToken) -> None:
        record = claimed.record
        started_at = self._clock()
        self._queue.note(
            TaskEvent(
                started_at, "task.started", record.key, claimed.spec.func, record.partition, self.id, record.claims,
                None, claimed.spec.schedule_id,
            )
        )  # fmt: skip
        try:
            outcome = await self._attempts.run(claimed)
            if token not in self._lost:
                self._finish(claimed, token, outcome, started_at)
        except asyncio.CancelledError as error:
            if token not in self._lost and not self._is_cancelled():
                # Its own code cancelled it, which is a way to fail.
                self._finish(claimed, token, Raised(describe_error(error), class_names(error)), started_at)
            # Else the lease is gone or was handed back: whoever took it settles the task.
            logger.debug("task %s was stopped", record.key)
        finally:
            self._lost.discard(token)
            del self._running[token]
            self._changed.set()

    def _is_cancelled(self) -> bool:
        """Whether everything is cancelled, because the loop ends before the pool has stopped."""
        return self._claiming is None or self._claiming.cancelling() > 0 or self._ending.is_cancelled

    def _finish(self, claimed: Claimed, token: ClaimToken, outcome: Outcome, started_at: int) -> None:
        self._unsettled[token] = claimed
        self._finished.append(Ended(claimed, outcome, started_at, self._clock()))
        if self._settling is None:
            self._settling = self._loop.create_task(self._settle_finished())

    async def _settle_finished(self) -> None:
        """Write what has ended; what ends meanwhile goes out in the next write (group commit)."""
        try:
            while self._finished:
                ended, self._finished = self._finished, []
                try:
                    await self._settle(self._queue.settlements(ended, self.id))
                except _GivenUpError as error:
                    self._tell_of_loss(len(ended), error)
                except asyncio.CancelledError:
                    if self._parted.is_set():
                        self._tell_of_loss(len(ended) + len(self._finished), "the store does not answer")
                    raise
                except Exception:
                    # Their leases end by themselves; those that have ended since must not wait for that.
                    logger.exception("what came of %d tasks could not be written", len(ended))
        finally:
            self._settling = None
            if self._hands_over and not self._running and self._hints is not None:
                self._hints.wake()  # the sooner its claim stands again, the better

    def _tell_of_loss(self, number: int, reason: object) -> None:
        logger.error(
            "worker %s ends before what came of %d tasks could be written: %s. They run again when their leases end",
            self.id, number, reason,
        )  # fmt: skip

    async def _settle(self, batch: list[Settlement]) -> None:
        try:
            applied = await self._write(batch)
        finally:
            for each in batch:
                self._unsettled.pop((each.previous.key, each.previous.version), None)
            self._changed.set()
        for each, still in zip(batch, applied, strict=True):
            if not still:
                logger.warning("%s", LeaseLost(each.task.key))

    async def _write(self, batch: list[Settlement]) -> list[bool]:
        try:
            return await self._write_until_answered(batch)
        except _GivenUpError:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever the store does not take is told as the task's failure
            if len(batch) > 1:
                # One that the store does not take must not hold the others up.
                return [(await self._write([each]))[0] for each in batch]
            return await self._write_until_answered([refuse(batch[0], describe_error(error), self._clock())])

    async def _write_until_answered(self, batch: list[Settlement]) -> list[bool]:
        """Outcomes are worth keeping: they are written when a store that is away is back, unless the leases are lost by
        then, or the pool has been stopped and its grace is over.
        """
        again = False
        while True:
            try:
                outcomes = await self._queue.settle_all(batch, again=again)
            except ValueTooLargeError:
                raise
            except StoreError as error:
                self._outage.failed(_WRITE, error)
                if self._hurried:
                    raise _GivenUpError(str(error)) from error
                again = True
                await asyncio.sleep(_RETRY_STORE_SECONDS)
            else:
                self._outage.worked(_WRITE)
                return outcomes

    # --- leases ---

    def _running_now(self) -> list[Claimed]:
        # Called from the heartbeat's thread: copying a dict is atomic. What has ended needs its lease until its outcome
        # is written, which a task that blocks the loop, or a store that is away, may hold up. Tasks move from the first
        # dict to the second, so in this order none is missed.
        held = {token: claimed for token, (claimed, _) in self._running.copy().items()}
        return list((held | self._unsettled.copy()).values())

    def _is_orphan(self) -> bool:
        return self._loop.is_closed()

    def _wake_from_thread(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _lost_from_thread(self, claimed: Claimed) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._lose, claimed)

    def _lose(self, claimed: Claimed) -> None:
        token = claimed.token
        if token in self._running and token not in self._lost:
            self._lost.add(token)
            self._running[token][1].cancel(str(LeaseLost(claimed.record.key)))

    def _info(self) -> WorkerInfo:
        return WorkerInfo(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            type=self.kind.value,
            concurrency=self.concurrency,
            running=len(self._running),
            queues=tuple(self.queues or ()),
            started_at=self._started_at,
            seen_at=datetime.now(UTC),
        )
