"""The conformance suite on the Redis driver, against a real server and against a real cluster."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
import redis
from omniq.backends.redis import RedisDriver
from omniq.models.record import Record
from omniq.testing import DriverConformance

from ..servers.process import free_port
from ..servers.redis import RedisCluster, RedisServer

_HEADER = struct.Struct(">BqQqQQQQBHHH")
_ZERO = 1 << 63


class _Redis(DriverConformance):
    """Reaches a store past its driver, by the client library's blocking client and plain commands."""

    driver_class = RedisDriver
    server: ClassVar[RedisServer | RedisCluster]

    def url(self, tmp_path: Path) -> str:
        return self.server.url(uuid.uuid4().hex)

    async def read_raw(self, url: str, kind: str, key: str) -> Record | None:
        with _client(url) as client:
            stored = client.hget(f"{_prefix(url)}records:{kind}", key)
        return None if stored is None else _unpack(kind, key, stored)

    async def write_raw(self, url: str, record: Record) -> None:
        prefix = _prefix(url)
        with _client(url) as client:
            stored = client.hget(f"{prefix}records:{record.kind}", record.key)
            if stored is not None:
                _unlist(client, prefix, _unpack(record.kind, record.key, stored))
            client.hset(f"{prefix}records:{record.kind}", record.key, _pack(record))
            _list(client, prefix, record)

    async def discard(self, url: str) -> None:
        with _client(url) as client:
            for keys in iter_batches(client, f"{_prefix(url)}*"):
                client.unlink(*keys)

    def unusable_url(self, tmp_path: Path) -> str:
        return f"redis://:hunter2@127.0.0.1:{free_port()}/0"


class TestRedis(_Redis):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        with RedisServer(tmp_path_factory.mktemp("redis")) as cls.server:
            yield


@pytest.mark.cluster
class TestRedisCluster(_Redis):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        with RedisCluster(tmp_path_factory.mktemp("redis-cluster"), durable=False) as cls.server:
            yield


# --- the side door ---


def _namespace(url: str) -> str:
    return parse_qs(urlsplit(url).query)["namespace"][0]


def _prefix(url: str) -> str:
    return f"omniq:{{{_namespace(url)}}}:"


def _client(url: str) -> redis.Redis:
    parts = urlsplit(url)
    host, _, port = parts.netloc.split(",")[0].partition(":")
    if parts.scheme == "redis":
        return redis.Redis(host=host, port=int(port))
    return redis.RedisCluster(host=host, port=int(port))  # type: ignore[return-value]  # it has the same commands


def iter_batches(client: redis.Redis, pattern: str) -> Iterator[list[bytes]]:
    """The keys that match, some at a time."""
    keys = list(client.scan_iter(pattern, count=1000))
    for start in range(0, len(keys), 500):
        yield keys[start : start + 500]


def _pack(record: Record) -> bytes:
    texts = [(text or "").encode() for text in (record.partition, record.state, record.owner)]
    flags = (record.due_at is not None) + 2 * (record.expires_at is not None) + 4 * (record.owner is not None)
    header = _HEADER.pack(
        1, record.version, record.created_at + _ZERO, record.claims, record.rank + _ZERO, record.updated_at + _ZERO,
        (record.due_at or 0) + _ZERO, (record.expires_at or 0) + _ZERO, flags, *map(len, texts),
    )  # fmt: skip
    return header + b"".join(texts) + record.body


def _unpack(kind: str, key: str, stored: bytes) -> Record:
    _, version, created, claims, rank, updated, due, expires, flags, *lengths = _HEADER.unpack_from(stored)
    texts, at = [], _HEADER.size
    for length in lengths:
        texts.append(stored[at : at + length].decode())
        at += length
    partition, state, owner = texts
    return Record(
        kind, key, partition, state, rank - _ZERO, due - _ZERO if flags & 1 else None, owner if flags & 4 else None,
        claims, version, created - _ZERO, updated - _ZERO, expires - _ZERO if flags & 2 else None, stored[at:],
    )  # fmt: skip


def _names(prefix: str, record: Record) -> tuple[str, str, str, bytes]:
    kind, partition = f"{len(record.kind.encode())}:{record.kind}:", record.partition
    group = f"{len(partition.encode())}:{partition}:{record.state}"
    member = struct.pack(">QQ", record.rank + _ZERO, record.created_at + _ZERO) + record.key.encode()
    return f"{prefix}keys:{kind}{group}", group, f"{prefix}ready:{kind}{partition}", member


def _list(client: redis.Redis, prefix: str, record: Record) -> None:
    keys, group, _, _ = _names(prefix, record)
    client.zadd(keys, {record.key: 0})
    client.sadd(f"{prefix}groups:{record.kind}", group)
    if record.due_at is not None:
        client.zadd(f"{prefix}later:{record.kind}", {record.key: record.due_at})
    if record.expires_at is not None:
        client.zadd(
            f"{prefix}expiry:{record.kind}", {struct.pack(">Q", record.expires_at + _ZERO) + record.key.encode(): 0}
        )


def _unlist(client: redis.Redis, prefix: str, record: Record) -> None:
    keys, group, ready, member = _names(prefix, record)
    client.zrem(keys, record.key)
    if not client.exists(keys):
        client.srem(f"{prefix}groups:{record.kind}", group)
    client.zrem(ready, member)
    client.zrem(f"{prefix}later:{record.kind}", record.key)
