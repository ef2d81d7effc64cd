"""The conformance suite on the NATS driver: one server, and a cluster of three.

The side door reads a store's log with a plain client, and takes what it says through the contract's own model: none of
the driver's replica is in it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import nats
import pytest
from msgspec.structs import astuple
from nats.js.errors import NotFoundError
from omniq.backends.nats import NATSDriver
from omniq.backends.nats_wire import (
    Assembler,
    Drop,
    Move,
    Put,
    Request,
    Row,
    Swap,
    Take,
    Tell,
    Unstand,
    decode_events,
    decode_requests,
    encode_request,
    frames,
)
from omniq.clock import Clock, system_clock
from omniq.models.record import Delete, Extend, Record, Replace
from omniq.storage.driver import Driver
from omniq.testing import DriverConformance
from omniq.testing.model import Model
from omniq.testing.racer import Part

from tests.servers.nats import new_namespace, shared_cluster, shared_server
from tests.servers.process import free_port


class _Log:
    """A store's log, read and written with a plain client."""

    def __init__(self, url: str) -> None:
        self._servers, _, namespace = url.partition("?namespace=")
        self.stream, self.subject = f"OMNIQ_{namespace}", f"omniq.{namespace}.log"

    async def __aenter__(self) -> _Log:
        self._client = await nats.connect(self._servers.replace(",", ",nats://").split(","), connect_timeout=10)
        self.js = self._client.jetstream(timeout=10)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def replay(self) -> Model:
        """The state that the log leads to."""
        model, assembler, standing = Model(), Assembler(), dict[str, Take]()
        state = (await self.js.stream_info(self.stream)).state
        for seq in range(max(state.first_seq, 1), state.last_seq + 1):
            message = await self.js.get_msg(self.stream, seq)
            if (whole := assembler.take(seq, 0, message.data or b"")) is not None:
                for request in decode_requests(whole.content):
                    await self._fetch_bodies(request)
                    _apply(model, request, standing)
                _hand_over(model, standing)
        return model

    async def _fetch_bodies(self, request: Request) -> None:
        for op in request:
            if isinstance(op, Put | Swap) and op.row.blob is not None:
                with suppress(NotFoundError):  # it was replaced since
                    parts = [await self.js.get_msg(f"{self.stream}_ASIDE", int(n)) for n in op.row.blob.split(".")]
                    op.row.body = b"".join(part.data or b"" for part in parts)

    async def write(self, request: Request) -> None:
        (content,) = frames(os.urandom(16), 1, [encode_request(request)], 10**6)
        await self.js.publish(self.subject, content)

    async def remove(self) -> None:
        for stream in (self.stream, f"{self.stream}_ASIDE"):
            try:
                await self.js.delete_stream(stream)
            except NotFoundError:
                continue  # the test made no store


def _apply(model: Model, request: Request, standing: dict[str, Take]) -> None:
    outcomes: list[bool] = []
    for op in request:
        if isinstance(op, Take):
            assert op.now is not None, "only drivers with a clock of the test's own can be followed"
            found = model.claim(op.kind, op.partitions, op.owner, op.limit, op.lease, op.excluding, op.now)
            standing.pop(op.owner, None)
            if op.lasts and not found:
                standing[op.owner] = op
            outcomes.append(True)
        elif isinstance(op, Unstand):
            for owner in [op.owner] if op.owner is not None else list(standing):
                standing.pop(owner, None)
            outcomes.append(True)
        elif isinstance(op, Put | Swap | Move | Drop | Tell):
            outcomes.append((op.after is None or outcomes[op.after]) and _applied(model, op))


def _hand_over(model: Model, standing: dict[str, Take]) -> None:
    for op in list(standing.values()):
        assert op.now is not None
        written = (record.updated_at for record in model.records.values() if record.kind == op.kind)
        now = max(op.now, *written, op.now)
        if now > op.now + op.lasts or model.claim(
            op.kind, op.partitions, op.owner, op.limit, op.handed_lease, op.excluding, now
        ):
            del standing[op.owner]


def _applied(model: Model, op: Put | Swap | Move | Drop | Tell) -> bool:
    if isinstance(op, Tell):
        model.events += decode_events(op.events)
        return True
    row = op.row if isinstance(op, Put | Swap) else op
    there = model.records.get((row.kind, row.key))
    if isinstance(op, Put):
        # As it is, unlike the contract's insertion: the side door writes any version.
        model.records.setdefault((row.kind, row.key), _record(op.row))
        return there is None
    version = op.row.version - 1 if isinstance(op, Swap) else op.version
    if there is None or (there.version, there.created_at) != (version, row.created_at):
        return False
    if isinstance(op, Move):
        return model.write([Extend(there, op.due_at)])[0]
    if isinstance(op, Drop):
        return model.write([Delete(there)])[0]
    record = _record(op.row)
    if op.same_body:
        record.body = there.body
    return model.write([Replace(record, there)])[0]


def _record(row: Row) -> Record:
    return Record(*astuple(row)[:-1])


class _NATSConformance(DriverConformance):
    driver_class = NATSDriver

    async def read_raw(self, url: str, kind: str, key: str) -> Record | None:
        async with _Log(url) as log:
            return (await log.replay()).records.get((kind, key))

    async def write_raw(self, url: str, record: Record) -> None:
        async with _Log(url) as log:
            old = (await log.replay()).records.get((record.kind, record.key))
            request: Request = [] if old is None else [Drop(old.kind, old.key, old.version, old.created_at)]
            await log.write([*request, Put(Row(*astuple(record)))])

    async def _kill_when_noted(self, parts: Sequence[Part], enough: int) -> None:
        await super()._kill_when_noted(parts, enough)
        # What a process had sent when it was killed may still be on its way between the servers.
        await asyncio.sleep(0.5)

    async def discard(self, url: str) -> None:
        async with _Log(url) as log:
            await log.remove()


class TestNATS(_NATSConformance):
    def url(self, tmp_path: Path) -> str:
        return f"{shared_server().url}?namespace={new_namespace()}"

    def unusable_url(self, tmp_path: Path) -> str:
        return f"nats://somebody:hunter2@127.0.0.1:{free_port()}"


@pytest.mark.cluster
class TestNATSCluster(_NATSConformance):
    """On three servers, each of which has every message; connections go to any of them."""

    def url(self, tmp_path: Path) -> str:
        return f"{shared_cluster().url}?namespace={new_namespace()}"

    def make_driver(self, url: str, *, clock: Clock = system_clock, durability: str = "normal") -> Driver:
        return NATSDriver(url, clock=clock, durability=durability, options={"replicas": 3, "timeout": 20.0})
