"""Scalars of the standard library as msgpack extensions."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PosixPath, WindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

BIG_INT, BYTEARRAY, COMPLEX, DATETIME, DATE, TIME, DURATION, DECIMAL, UUID_, PATH = range(20, 30)

_MICROSECOND = timedelta(microseconds=1)


def _pack_int(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _pack_duration(value: timedelta) -> bytes:
    return _encode([value.days, value.seconds, value.microseconds])


def _pack_moment(value: datetime | time) -> bytes | None:
    zone = _pack_zone(value.tzinfo)
    return None if zone is None else _encode([value.replace(tzinfo=None).isoformat(), value.fold, *zone])


def _pack_zone(zone: tzinfo | None) -> tuple[object, ...] | None:
    """Nothing for naive, a name for a ZoneInfo, microseconds for a nameless offset; ``None`` for any other zone."""
    if zone is None:
        return ()
    if type(zone) is ZoneInfo and zone.key is not None:
        return (zone.key,)
    # A timezone that was given a name shows it in its repr; UTC's repr is a name of its own.
    if zone is UTC or (type(zone) is timezone and repr(zone).count(",") == repr(zone.utcoffset(None)).count(",")):
        return (zone.utcoffset(None) // _MICROSECOND,)
    return None


def _unpack_zone(zone: list[Any]) -> tzinfo | None:
    if not zone:
        return None
    if isinstance(zone[0], str):
        return ZoneInfo(zone[0])
    return timezone(timedelta(microseconds=zone[0])) if zone[0] else UTC


def _unpack_datetime(data: memoryview) -> datetime:
    text, fold, *zone = _decode(data)
    return datetime.fromisoformat(text).replace(fold=fold, tzinfo=_unpack_zone(zone))


def _unpack_time(data: memoryview) -> time:
    text, fold, *zone = _decode(data)
    return time.fromisoformat(text).replace(fold=fold, tzinfo=_unpack_zone(zone))


def _text(data: memoryview) -> str:
    return str(data, "utf-8")


def _pack_path(value: Path) -> bytes | None:
    try:
        return str(value).encode()
    except UnicodeEncodeError:  # a name that is no text on this system
        return None


Pack = Callable[[Any], bytes | None]

PACK: dict[type, tuple[int, Pack]] = {
    int: (BIG_INT, _pack_int),
    bytearray: (BYTEARRAY, bytes),
    complex: (COMPLEX, lambda value: struct.pack("<dd", value.real, value.imag)),
    datetime: (DATETIME, _pack_moment),
    date: (DATE, lambda value: value.isoformat().encode()),
    time: (TIME, _pack_moment),
    timedelta: (DURATION, _pack_duration),
    Decimal: (DECIMAL, lambda value: str(value).encode()),
    UUID: (UUID_, lambda value: value.bytes),
    PosixPath: (PATH, _pack_path),
    WindowsPath: (PATH, _pack_path),
}
"""For each exact type its code, and what makes its bytes; ``None`` instead of bytes where they could not be exact."""

UNPACK: dict[int, Callable[[memoryview], object]] = {
    BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    BYTEARRAY: bytearray,
    COMPLEX: lambda data: complex(*struct.unpack("<dd", data)),
    DATETIME: _unpack_datetime,
    DATE: lambda data: date.fromisoformat(_text(data)),
    TIME: _unpack_time,
    DURATION: lambda data: timedelta(*_decode(data)),
    DECIMAL: lambda data: Decimal(_text(data)),
    UUID_: lambda data: UUID(bytes=bytes(data)),
    PATH: lambda data: Path(_text(data)),
}
