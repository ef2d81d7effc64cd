"""Values to bytes and back, exactly: what comes out has the type and the value of what went in.

Plain values are msgpack. Common containers and scalars of the standard library are msgpack extensions, frames and
arrays are Arrow, and whatever is left is pickled and signed, all of it in one pickle beside the body. Two references to
one object come back as one object only inside that pickle.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec.msgpack import Decoder, Encoder, Ext

from . import _arrow, _scalars
from ._culprits import largest, refusal, unpicklable
from ._pickling import one_line, pickle_bytes, unseal
from .errors import LargePayloadWarning, OmniQError, SerializationError
from .failures import describe_error
from .models.result import ErrorInfo

if TYPE_CHECKING:
    from .signing import Signer

__all__ = ["LARGE", "ErrorInfo", "Serializer", "describe_error", "is_plain"]

LARGE = 1_000_000
"""Values that take more bytes than this are warned about."""

_DEEPEST = 100
_LEAVES = frozenset({type(None), bool, int, float, str, bytes})
_INT64 = range(-(2**63), 2**64)
_TUPLE, _SET, _FROZENSET, _DICT, _PICKLED = range(1, 6)
_CONTEXT = "value"
# Before [body, signed pickle]: the one byte that no msgpack begins with.
_WITH_PICKLE = b"\xc1"
# Pickle would turn these into something else, or take a copy of what they only point to.
_NEVER_PICKLED = (memoryview, io.IOBase)
_COPIED = (io.BytesIO, io.StringIO)

_encode = Encoder().encode

Where = tuple[Any, str, object] | None
"""Where a value sits: where its holder sits, the kind of step from there, its index or key. Text only for an error."""


class Serializer:
    """Turns values into bytes and back.

    Args:
        signer: Signs what has to be pickled, and refuses what others pickled.
    """

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def dumps(self, value: object, what: str = "value") -> bytes:
        """``value`` as bytes.

        Raises:
            SerializationError: It can't be; the message says which part of ``what``, and what to do.
        """
        data = self._dumps(value, what)
        if len(data) > LARGE:
            self._warn(value, what, len(data))
        return data

    def dumps_call(self, args: Sequence[Any], kwargs: Mapping[str, Any], what: str) -> bytes:
        """What `dumps` makes of ``[list(args), kwargs]``, sooner where the arguments are a few numbers or texts."""
        plain = list(args)
        if not kwargs and _LEAVES.issuperset(map(type, plain)):
            try:
                data = _encode((plain, kwargs))
            except (ValueError, OverflowError):
                pass  # see `_dumps`
            else:
                if len(data) <= LARGE:
                    return data
        return self.dumps([plain, kwargs], what)

    def loads(self, data: bytes, what: str = "value") -> object:
        """The value of ``data``.

        Raises:
            SignatureError: It holds a pickle that was not signed with this secret; nothing was unpickled.
            SerializationError: It is damaged, or needs what this process lacks.
        """
        try:
            return self._open(data, what) if data[:1] == _WITH_PICKLE else _decode(data)
        except OmniQError:
            raise
        except ImportError as error:
            raise SerializationError(f"{what} needs a package that is missing here: {one_line(error)}") from error
        except Exception as error:
            # Arrow's readers raise what they like on damaged bytes.
            raise SerializationError(f"{what} is damaged, its bytes can't be read: {one_line(error)}") from error

    def _dumps(self, value: object, what: str) -> bytes:
        if is_plain(value):
            try:
                return _encode(value)
            except (ValueError, OverflowError):
                # Integers beyond 64 bits and broken text: too rare to look for beforehand.
                pass
        try:
            return self._dumps_extended(value, what, _Packer())
        except (ValueError, OverflowError):
            return self._dumps_carefully(value, what)

    def _dumps_carefully(self, value: object, what: str) -> bytes:
        try:
            return self._dumps_extended(value, what, _CarefulPacker())
        except (ValueError, OverflowError) as error:
            raise SerializationError(
                f"{what} can't be stored ({error}): write it to a file and pass the path"
            ) from error

    def _dumps_extended(self, value: object, what: str, packer: _Packer) -> bytes:
        try:
            body = _encode(packer.pack(value, None, _DEEPEST))
        except _TooDeepError:
            # Nested beyond reason, or it contains itself; pickle can do both.
            packer.pickled = [(value, None)]
            body = _encode(_reference(0))
        if not packer.pickled:
            return body
        sealed = self._signer.sign(_pickle(packer.pickled, what), _CONTEXT)
        return _WITH_PICKLE + _encode([body, sealed])

    def _open(self, data: bytes, what: str) -> object:
        body, sealed = _decode(memoryview(data)[1:])
        values = unseal(sealed, self._signer, what, _CONTEXT)
        return _decoder(values).decode(body)

    def _warn(self, value: object, what: str, size: int) -> None:
        def measure(part: object) -> int:
            try:
                return len(self._dumps(part, what))
            except SerializationError:
                return 0

        culprit = largest(value, what, measure)
        remedy = "pass a path or a key to it and read it inside the task, or split it"
        warnings.warn(LargePayloadWarning(what, size, culprit, remedy), stacklevel=3)


def is_plain(value: Any, deepest: int = _DEEPEST) -> bool:
    """Whether msgpack alone gives the value back exactly (but for integers beyond 64 bits and broken text)."""
    kind = type(value)
    if kind in _LEAVES:
        return True
    if kind is list:
        items = value
    elif kind is dict:
        if not value:
            return True
        for key in value:
            if type(key) not in _LEAVES:
                return False
        items = value.values()
    else:
        return kind is datetime and value.tzinfo is UTC and not value.fold
    if not deepest:
        return False
    for item in items:  # noqa: SIM110 -- all() is twice as slow
        if type(item) not in _LEAVES and not is_plain(item, deepest - 1):
            return False
    return True


class _TooDeepError(Exception):
    pass


class _Packer:
    """Rewrites a value in what msgpack knows, and collects what has to be pickled."""

    leaves = _LEAVES

    def __init__(self) -> None:
        self.pickled: list[tuple[object, Where]] = []

    def pack(self, value: Any, where: Where, deepest: int) -> object:
        kind = type(value)
        if kind in self.leaves or (kind is datetime and value.tzinfo is UTC and not value.fold):
            return value
        if kind not in _CONTAINERS:
            return self._pack_other(value, where)
        if not deepest:
            raise _TooDeepError
        if kind is dict:
            return self._pack_dict(value, where, deepest - 1)
        items = self._pack_items(value, where, deepest - 1, "index" if kind in (list, tuple) else "element")
        return items if kind is list else Ext(_CONTAINERS[kind], _encode(items))

    def _pack_items(self, items: Sequence[Any], where: Where, deepest: int, step: str) -> list[object]:
        leaves, pack = self.leaves, self.pack
        return [
            item if type(item) in leaves else pack(item, (where, step, index), deepest)
            for index, item in enumerate(items)
        ]

    def _pack_dict(self, value: dict[Any, Any], where: Where, deepest: int) -> object:
        if self.leaves.issuperset(map(type, value)):
            return {key: self.pack(item, (where, "index", key), deepest) for key, item in value.items()}
        keys = [self.pack(key, (where, "key", key), deepest) for key in value]
        values = [self.pack(item, (where, "index", key), deepest) for key, item in value.items()]
        return Ext(_DICT, _encode([keys, values]))

    def _pack_other(self, value: Any, where: Where) -> Ext:
        entry = _scalars.PACK.get(type(value))
        if entry and (data := entry[1](value)) is not None:
            return Ext(entry[0], data)
        packed = _arrow.pack(value)
        if packed:
            return Ext(*packed)
        self.pickled.append((value, where))
        return _reference(len(self.pickled) - 1)


class _CarefulPacker(_Packer):
    """Also looks at each integer and text, of which msgpack can't carry all."""

    leaves = _LEAVES - {int, str}

    def _pack_other(self, value: Any, where: Where) -> Any:
        if type(value) is int and value in _INT64:
            return value
        if type(value) is str and _is_text(value):
            return value
        return super()._pack_other(value, where)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_CONTAINERS: dict[type, int] = {list: 0, dict: 0, tuple: _TUPLE, set: _SET, frozenset: _FROZENSET}


def _reference(index: int) -> Ext:
    return Ext(_PICKLED, _encode(index))


def _decoder(pickled: object) -> Decoder[Any]:
    """A decoder that knows the extensions, with the values that travelled in the pickle."""
    makers: dict[int, Callable[[Any], object]] = {
        _TUPLE: tuple,
        _SET: set,
        _FROZENSET: frozenset,
        _DICT: lambda pairs: dict(zip(*pairs, strict=True)),
        _PICKLED: lambda index: pickled[index],  # type: ignore[index]
    }

    def unpack(code: int, data: memoryview) -> object:
        if code in makers:
            return makers[code](decode(data))
        if code in _scalars.UNPACK:
            return _scalars.UNPACK[code](data)
        if code in _arrow.CODES:
            return _arrow.unpack(code, data)
        raise ValueError(f"unknown extension {code}, perhaps of a newer version of OmniQ")

    decoder = Decoder(ext_hook=unpack)
    decode = decoder.decode
    return decoder


_decode = _decoder(()).decode


def _pickle(pickled: list[tuple[object, Where]], what: str) -> bytes:
    for value, where in pickled:
        if isinstance(value, _NEVER_PICKLED) and not isinstance(value, _COPIED):
            raise refusal(value, what + _text(where), None)
    try:
        return pickle_bytes([value for value, _ in pickled])
    except Exception as error:
        # Pickling calls whatever the values' classes define, so anything can be raised.
        value, path = _guilty(pickled, what)
        raise refusal(value, path, error) from error


def _guilty(pickled: list[tuple[object, Where]], what: str) -> tuple[object, str]:
    for value, where in pickled:
        path, part = unpicklable([value], "")
        if path:
            return part, what + _text(where) + path.removeprefix("[0]")
    value, where = pickled[0]
    return value, what + _text(where)


def _text(where: Where) -> str:
    if where is None:
        return ""
    holder, step, key = where
    steps = {"index": f"[{key!r}]", "key": f" (its key {key!r})", "element": " (an element)"}
    return _text(holder) + steps[step]
