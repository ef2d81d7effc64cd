"""What keeps an object store small and quick to open: checkpoints, segments of events, and deleting what is over.

Whoever writes the commit at which it is due does it, beside his calls. It may be broken off anywhere: what was not
announced in the log does not count, and is swept up a day later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from ..clock import SECOND, Clock
from ..errors import StoreError
from ..storage.driver import Key
from .objects_events import Numbered, events_of, to_parquet, untrimmed
from .objects_format import (
    BLOBS,
    CHECKPOINTS,
    EVENTS,
    PARQUET,
    RUNS,
    Checkpoint,
    Manifest,
    Run,
    RunBody,
    Segment,
    SegmentBody,
    checkpoint_name,
    commit_name,
    made_at,
    pack,
    run_name,
    segment_name,
)
from .objects_log import Log
from .objects_plan import Note
from .objects_state import Replica, State, seconds_now
from .objects_store import ObjectStore

logger = logging.getLogger("omniq")

COMMITS_PER_CHECKPOINT = 256
BYTES_PER_CHECKPOINT = 8_000_000
"""A checkpoint is due after so many commits, or so much in them."""
EVENTS_PER_SEGMENT = 2000
SEGMENTS_PER_PARQUET = 16
_RUNS = 64
_ROWS_PER_RUN = 10_000
_COMMITS_PER_DELETION = 10_000
_CHECKPOINTS_PER_SWEEP = 16
_LEFT_BEHIND = 86_400 * SECOND
"""What nobody names is swept up when it is so old: whoever wrote it has given up, or named it, long before."""


class Upkeep:
    """Takes care of a store.

    Args:
        url: For messages.
        store: Its objects.
        log: The way to its log.
        replica: What the log says.
        note: Writes a note into the log; says whether it counts.
        clock: The driver's.
    """

    def __init__(
        self,
        url: str,
        store: ObjectStore,
        log: Log,
        replica: Replica,
        note: Callable[[Note], Awaitable[bool]],
        clock: Clock,
    ) -> None:
        self._url = url
        self._store = store
        self._log = log
        self._replica = replica
        self._note = note
        self._clock = clock
        self._log_start = 1
        self._checkpoints = 0
        self._swept: dict[str, str] = {}
        self._complaints: set[str] = set()
        self._running: asyncio.Task[None] | None = None
        self._deleting: set[asyncio.Task[None]] = set()

    def begin_if_due(self, size: int) -> None:
        """Do what is due, beside the calls of whoever has just written a commit of this size."""
        if self._running is None and self._is_due(size):
            self._running = asyncio.create_task(self._run())

    def _is_due(self, size: int) -> bool:
        with self._replica.lock:
            state = self._replica.state
            position, checkpoint, after = state.position, state.checkpoint.number, state.log_bytes
        by_number = position > checkpoint and (position - checkpoint) % COMMITS_PER_CHECKPOINT == 0
        return by_number or (after - size) // BYTES_PER_CHECKPOINT < after // BYTES_PER_CHECKPOINT

    async def _run(self) -> None:
        try:
            await self._try(self._shorten, "a checkpoint could not be taken, a later one will")
            # By itself, as it needs a library that may fail in its own ways, and nothing needs it.
            await self._try(self._merge_segments, "small objects with events stay as they are, for now")
        finally:
            self._running = None

    async def _try(self, work: Callable[[], Awaitable[None]], complaint: str) -> None:
        """Do something, and complain if it fails: nothing is lost, as it is done when it is due again."""
        try:
            await work()
        except StoreError as error:
            logger.warning("%s: %s", complaint, error)
        except Exception as error:  # noqa: BLE001 -- polars may be missing or broken: nobody's call may fail for that
            if complaint not in self._complaints:
                self._complaints.add(complaint)
                logger.warning("%s: %s", complaint, " ".join(f"{type(error).__name__}: {error}".split()))

    async def _shorten(self) -> None:
        """Make the log short."""
        await self._set_events_aside()
        await self._take_checkpoint()
        await self._delete_commits()
        self._checkpoints += 1
        if self._checkpoints % _CHECKPOINTS_PER_SWEEP == 0:
            await self._sweep()

    def delete_soon(self, names: Collection[str]) -> None:
        """Delete objects beside the caller's work."""
        if names:
            task = asyncio.create_task(self._delete(names))
            self._deleting.add(task)
            task.add_done_callback(self._deleting.discard)

    async def _delete(self, names: Collection[str]) -> None:
        try:
            await self._log.delete(names)
        except StoreError as error:
            logger.warning("objects that are over could not be deleted and are swept up later: %s", error)

    async def finish(self) -> None:
        """Wait for what is under way."""
        while under_way := {*self._deleting, *([self._running] if self._running is not None else [])}:
            await asyncio.wait(under_way)

    # --- events ---

    async def _set_events_aside(self) -> None:
        """Move the youngest events out of everybody's memory into a segment."""
        with self._replica.lock:
            state = self._replica.state
            first, tail = state.tail_first, list(state.tail)
        if len(tail) >= EVENTS_PER_SEGMENT:
            numbered = [(n, event) for n, event in enumerate(tail, start=first) if event is not None]
            await self._replace((), first, first + len(tail), numbered, parquet=False)

    async def _merge_segments(self) -> None:
        with self._replica.lock:
            small = [segment for segment in self._replica.state.segments if not segment.name.endswith(PARQUET)]
        small = small[:SEGMENTS_PER_PARQUET]
        if len(small) < SEGMENTS_PER_PARQUET:
            return
        numbered: list[Numbered] = []
        names = [segment.name for segment in small]
        for name, data in zip(names, await self._log.get_all(names), strict=True):
            if data is None:
                return  # trimmed, or another process is about it
            numbered += events_of(data, self._url, name)
        with self._replica.lock:
            numbered = untrimmed(self._replica.state, numbered)
        await self._replace(tuple(small), small[0].first, small[-1].end, numbered, parquet=True)

    async def _replace(
        self, replaced: tuple[Segment, ...], first: int, end: int, numbered: list[Numbered], *, parquet: bool
    ) -> None:
        """Put a new segment in the place of others, or of the first events in memory."""
        name, moments = "", [event.ts for _, event in numbered]
        if numbered:
            name = segment_name(self._clock(), parquet=parquet)
            if parquet:
                data = await asyncio.to_thread(to_parquet, numbered)
            else:
                data = pack(SegmentBody([number for number, _ in numbered], [event for _, event in numbered]))
            await self._log.create(name, data)
        tasks = [event.task_id for _, event in numbered if event.task_id is not None]
        segment = Segment(
            name, first, end, min(moments, default=0), max(moments, default=0),
            min(tasks, default=""), max(tasks, default=""),
        )  # fmt: skip
        counts = await self._note(Note(segment=segment, replaces=replaced))
        await self._log.delete([each.name for each in replaced] if counts else [name] if name else [])

    # --- checkpoints ---

    async def _take_checkpoint(self) -> None:
        with self._replica.lock:
            state = self._replica.state
            old, number = state.checkpoint, state.position
            manifest = Manifest(old, list(state.segments), list(state.trims), state.tail_first, list(state.tail))
            changed = _changed(state) if not _needs_base(state) else None
            keys = [] if changed is not None else [(kind, key) for kind, i in state.kinds.items() for key in i.rows]
        log_start = max(old.log_start, self._log_start)
        if changed is not None:
            run = await self._write_run(changed)
            checkpoint = Checkpoint(number, old.base, (*old.runs, run), log_start)
        else:
            checkpoint = Checkpoint(number, await self._write_base(keys), (), log_start)
        manifest.checkpoint = checkpoint
        await self._log.create(checkpoint_name(number), pack(manifest))
        await self._note(Note(checkpoint=checkpoint))
        kept = {run.name for run in (*checkpoint.base, *checkpoint.runs)}
        over = [run.name for run in (*old.base, *old.runs) if run.name not in kept]
        over += [name for name in await self._log.all_names(CHECKPOINTS) if name < checkpoint_name(number)]
        await self._log.delete(over)

    async def _write_base(self, keys: list[Key]) -> tuple[Run, ...]:
        """Every record, a few at a time. What others change meanwhile is in commits that come after the checkpoint."""
        runs: list[Run] = []
        for start in range(0, len(keys), _ROWS_PER_RUN):
            with self._replica.lock:
                state = self._replica.state
                found = [state.find(*key) for key in keys[start : start + _ROWS_PER_RUN]]
                body = RunBody([row for row in found if row is not None], [])
            runs.append(await self._write_run(body))
        return tuple(runs)

    async def _write_run(self, body: RunBody) -> Run:
        name = run_name(self._clock())
        await self._log.create(name, pack(body))
        return Run(name, len(body.rows) + len(body.deleted))

    # --- what is over ---

    async def _delete_commits(self) -> None:
        """Delete commits that a checkpoint makes needless, and that everybody has had the time to read."""
        with self._replica.lock:
            known = self._replica.position_before(seconds_now() - self._store.grace)
            checkpoint = self._replica.state.checkpoint
        first = max(checkpoint.log_start, self._log_start)
        end = min(known, checkpoint.number, first + _COMMITS_PER_DELETION) + 1
        if end > first:
            await self._log.delete([commit_name(number) for number in range(first, end)])
            self._log_start = end

    async def _sweep(self) -> None:
        """Delete what was left behind by those who were killed, or cancelled, in the middle; a page at a time."""
        old = self._clock() - _LEFT_BEHIND
        for prefix in (BLOBS, RUNS, EVENTS):
            names = await self._log.names(prefix, self._swept.get(prefix, ""))
            with self._replica.lock:
                named = _named(self._replica.state)
            await self._log.delete([name for name in names if name not in named and made_at(name) < old])
            done = not names or made_at(names[-1]) >= old
            self._swept[prefix] = "" if done else names[-1]


def _needs_base(state: State) -> bool:
    """Whether it is time to write every record anew: then, all in all, each is written some three times."""
    checkpoint = state.checkpoint
    changed = sum(run.n for run in checkpoint.runs) + len(state.touched)
    return len(checkpoint.runs) >= _RUNS or 2 * changed >= sum(run.n for run in checkpoint.base)


def _changed(state: State) -> RunBody:
    body = RunBody([], [])
    for key in state.touched:
        row = state.find(*key)
        if row is None:
            body.deleted.append(key)
        else:
            body.rows.append(row)
    return body


def _named(state: State) -> set[str]:
    runs = (*state.checkpoint.base, *state.checkpoint.runs)
    return state.blobs | {run.name for run in runs} | {segment.name for segment in state.segments}
