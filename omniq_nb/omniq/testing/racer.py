"""One racer: a role that is played against a store in a thread or in a process of its own.

What a racer believes to have achieved goes to a log that has nothing to do with the store: lines appended to a file.
The races in `omniq.testing.races` compare that log with what the store says afterwards.

A process runs `play_as_a_process`. It says ``ready`` when its drivers are open, begins on ``go``, and ends at once with
the process that started it: so no racer outlives the test, even one that was killed.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from ..clock import SECOND, system_clock
from ..models.event import TaskEvent
from ..models.record import Append, Delete, Extend, Insert, Op, Record, Replace
from ..storage.driver import Driver

KIND = "task"
T = TypeVar("T")
LEASE = 3600 * SECOND
"""Longer than any race: no lease ends by itself."""


class Note(msgspec.Struct, frozen=True):
    """One line of the log: a racer's claim to have done something.

    Attributes:
        racer: Who.
        what: ``claimed``, ``accepted``, ``inserted``, ``replaced``, ``extended``, ``settled`` or ``wrote``.
        key: To which record, or batch.
        version: The version that the racer was given, or rested on.
    """

    racer: str
    what: str
    key: str
    version: int = 0


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one racer does.

    Attributes:
        role: Name of a function of `ROLES`.
        name: The racer's; owner of what it claims.
        url: The store's.
        driver: Module and class of the driver.
        log: File that the notes go to.
        size: How many records the role is about.
    """

    role: str
    name: str
    url: str
    driver: tuple[str, str]
    log: str
    size: int


class Log:
    """Appends notes to a file; lines of several processes don't mix, as each call is one append."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, *notes: Note) -> None:
        """Append; when this returns, the notes outlive the process."""
        if notes:
            os.write(self._file, b"".join(msgspec.json.encode(note) + b"\n" for note in notes))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    @staticmethod
    def read(path: Path) -> list[Note]:
        """All notes so far; a line that a killed process left unfinished is no note."""
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        return [msgspec.json.decode(line, type=Note) for line in lines]


class Racer:
    """A part, with the means to play it.

    Attributes:
        seen: The records that the part is about, as everybody saw them before the start.
    """

    def __init__(self, part: Part, drivers: list[Driver], log: Log, seen: list[Record]) -> None:
        self.part = part
        self.seen = seen
        self.name = part.name
        self.drivers = drivers
        self.driver = drivers[0]
        self.log = log
        self.chance = random.Random(part.name)

    def note(self, what: str, key: str, version: int = 0) -> Note:
        """A note by this racer."""
        return Note(self.name, what, key, version)


# --- roles ---


async def drain(racer: Racer) -> None:
    """Five claimers over two drivers: claim in batches, settle with `Replace`, until nothing is left to do.

    A record that has been claimed once and whose key ends in 0 is retried: it must come back, to anybody.
    """

    async def claimer(n: int) -> None:
        driver, name = racer.drivers[n % len(racer.drivers)], f"{racer.name}.{n}"
        while True:
            held = await driver.claim(KIND, None, name, racer.chance.randrange(1, 20), LEASE)
            racer.log.write(*(racer.note("claimed", record.key, record.version) for record in held))
            if held:
                await _settle(racer, driver, held)
            elif not any(state in ("pending", "running") for _, state in await driver.count(KIND)):
                return
            else:
                await asyncio.sleep(0.005)

    await asyncio.gather(*(claimer(n) for n in range(5)))


async def _settle(racer: Racer, driver: Driver, held: list[Record]) -> None:
    now = system_clock()
    ops: list[Op] = []
    for record in held:
        retried = record.claims == 1 and record.key.endswith("0")
        state, due_at, event = ("pending", now, "task.retried") if retried else ("done", None, "task.succeeded")
        ops += [
            Replace(replace(record, state=state, due_at=due_at, owner=None, body=racer.name.encode()), record),
            Append((TaskEvent(ts=now, event_type=event, task_id=record.key, worker=racer.name),), after=len(ops)),
        ]
    outcomes = await driver.write(ops)
    racer.log.write(
        *(racer.note("accepted", record.key, record.version) for n, record in enumerate(held) if outcomes[2 * n])
    )


async def contend(racer: Racer) -> None:
    """Insert the keys that all the others insert, and replace the very versions that all the others replace."""
    names = [f"{n:04}" for n in range(racer.part.size)]
    now = system_clock()

    def mine(name: str) -> Record:
        return Record(KIND, name, "new", "pending", 0, None, racer.name, 0, 1, now, now, None, racer.name.encode())

    racer.chance.shuffle(names)
    for batch in _batches(racer, names):
        outcomes = await racer.driver.write([Insert(mine(f"new-{name}")) for name in batch])
        racer.log.write(
            *(racer.note("inserted", f"new-{name}") for name, won in zip(batch, outcomes, strict=True) if won)
        )

    racer.chance.shuffle(racer.seen)
    for records in _batches(racer, racer.seen):
        ops = [Replace(replace(record, owner=racer.name, body=racer.name.encode()), record) for record in records]
        outcomes = await racer.driver.write(ops)
        racer.log.write(
            *(
                racer.note("replaced", record.key, record.version)
                for record, won in zip(records, outcomes, strict=True)
                if won
            )
        )


async def beat(racer: Racer) -> None:
    """Holder of leases that have ended: extend them, then settle what was extended; others claim meanwhile."""
    held = [record for record in racer.seen if record.owner == racer.name]
    racer.chance.shuffle(held)
    for records in _batches(racer, held):
        outcomes = await racer.driver.write([Extend(record, system_clock() + LEASE) for record in records])
        extended = [record for record, won in zip(records, outcomes, strict=True) if won]
        racer.log.write(*(racer.note("extended", record.key, record.version) for record in extended))
        outcomes = await racer.driver.write([Replace(replace(r, state="done", due_at=None), r) for r in extended])
        racer.log.write(
            *(racer.note("settled", r.key, r.version) for r, won in zip(extended, outcomes, strict=True) if won)
        )


async def steal(racer: Racer) -> None:
    """Claim what is due, until nothing is."""
    while held := await racer.driver.claim(KIND, None, racer.name, racer.chance.randrange(1, 8), LEASE):
        racer.log.write(*(racer.note("claimed", record.key, record.version) for record in held))


async def report(racer: Racer) -> None:
    """Append numbered events, some alone, some in batches."""
    now = system_clock()
    for batch in _batches(racer, list(range(racer.part.size))):
        events = tuple(TaskEvent(ts=now, event_type="t", task_id=f"{n}", worker=racer.name) for n in batch)
        await racer.driver.write([Append(events)])


async def write_until_killed(racer: Racer) -> None:
    """Write whole batches, and note each only after it was accepted."""
    now = system_clock()
    for n in range(1_000_000):
        batch = f"{racer.name}-{n}"
        ops: list[Op] = [
            Insert(Record(KIND, f"{batch}-{k:02}", batch, "pending", 0, now, None, 0, 1, now, now, None, b"x" * 500))
            for k in range(racer.part.size)
        ]
        ops.append(Append((TaskEvent(ts=now, event_type="t", task_id=batch),), after=0))
        outcomes = await racer.driver.write(ops)
        if all(outcomes):
            racer.log.write(racer.note("wrote", batch))


async def claim_until_killed(racer: Racer) -> None:
    """Claim a few and hold them."""
    while True:
        held = await racer.driver.claim(KIND, None, racer.name, 3, LEASE)
        racer.log.write(*(racer.note("claimed", record.key, record.version) for record in held))
        await asyncio.sleep(0.001)


async def remove(racer: Racer) -> None:
    """Delete the records."""
    await racer.driver.write([Delete(record) for record in racer.seen])


async def poke(racer: Racer) -> None:
    """Insert a record now and then."""
    now = system_clock()
    for n in range(racer.part.size):
        record = Record(KIND, f"{racer.name}-{n}", "default", "pending", 0, now, None, 0, 1, now, now, None, b"")
        await racer.driver.write([Insert(record)])
        await asyncio.sleep(0.02)


def _batches(racer: Racer, items: list[T]) -> Iterator[list[T]]:
    while items:
        size = racer.chance.randrange(1, 12)
        batch, items = items[:size], items[size:]
        yield batch


ROLES: dict[str, Callable[[Racer], Awaitable[None]]] = {
    role.__name__: role
    for role in (drain, contend, beat, steal, report, write_until_killed, claim_until_killed, remove, poke)
}


# --- playing a part ---


@asynccontextmanager
async def prepared(part: Part, make_driver: Callable[[str], Driver]) -> AsyncIterator[Racer]:
    """A racer with its drivers open, which has seen the records."""
    log = Log(Path(part.log))
    try:
        async with make_driver(part.url) as first, make_driver(part.url) as second:
            found = await first.get([(KIND, f"{n:04}") for n in range(part.size)])
            yield Racer(part, [first, second], log, [record for record in found if record is not None])
    finally:
        log.close()


def _driver_maker(part: Part) -> Callable[[str], Driver]:
    module, name = part.driver
    driver_class: type[Driver] = getattr(importlib.import_module(module), name)
    return driver_class


def play_as_a_process(part: Part, start: Connection, errors: Path, environment: dict[str, str]) -> None:
    """Play one part in this process.

    Args:
        part: The part.
        start: Says ``ready`` to the process that tests, and hears ``go``.
        errors: File that what is printed as an error goes to.
        environment: The variables of the process that tests; ours may be a fork of one from another time.
    """
    os.environ.clear()
    os.environ.update(environment)
    with errors.open("ab") as file:
        os.dup2(file.fileno(), 2)
    threading.Thread(target=_end_with_the_test, daemon=True).start()
    asyncio.run(_play(part, start))


def _end_with_the_test() -> None:
    tests = multiprocessing.parent_process()
    assert tests is not None, "a racer is started by the process that tests"
    tests.join()
    os._exit(1)


async def _play(part: Part, start: Connection) -> None:
    async with prepared(part, _driver_maker(part)) as racer:
        start.send("ready")
        start.recv()
        await ROLES[part.role](racer)
