"""The only place that pickles and unpickles: always signed, always checked first."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable
from functools import cached_property, lru_cache, partial, update_wrapper
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from .errors import SerializationError

if TYPE_CHECKING:
    from .signing import Signer

LRU_CACHE = type(lru_cache(len))
"""What `functools.lru_cache` makes of a function."""

_PROTOCOL = 5
_LONGEST = 300
# What a pickle that carries code calls to build it; code runs only on the Python version that compiled it.
_BUILDS_CODE = b"_make_function"


# Classes that travel by value: those that were defined in this process, and those that came from another.
_defined_here: WeakSet[type] = WeakSet()
_arrived: WeakSet[type] = WeakSet()


def pickle_bytes(value: object) -> bytes:
    """``value`` pickled, functions and classes that can't be imported elsewhere by value.

    The first two bytes are the Python version. Whatever the value's own methods raise comes through.
    """
    file = io.BytesIO()
    file.write(bytes(sys.version_info[:2]))
    _pickler()(file, protocol=_PROTOCOL).dump(value)
    return file.getvalue()


def unseal(signed: bytes, signer: Signer, what: str, context: str) -> object:
    """Check the signature, then unpickle.

    Raises:
        SignatureError: Not signed with this secret for this context; nothing was unpickled.
        SerializationError: It can't be unpickled in this process.
    """
    payload = signer.open(signed, what, context)
    written, pickled = (payload[0], payload[1]), memoryview(payload)[2:]
    if written != sys.version_info[:2] and _BUILDS_CODE in payload:
        raise SerializationError(
            f"{what} carries code compiled by Python {written[0]}.{written[1]}, and this is Python "
            f"{sys.version_info[0]}.{sys.version_info[1]}: run workers and notebook on the same version"
        )
    try:
        return _Unpickler(io.BytesIO(pickled)).load()
    except ImportError as error:
        raise SerializationError(
            f"{what} needs a module that can't be imported here ({one_line(error)}): install it for the workers, or "
            f"define what you need from it in the notebook"
        ) from error
    except Exception as error:
        # Unpickling calls whatever the value's class defines, so anything can be raised.
        raise SerializationError(
            f"{what} can't be unpickled here ({type(error).__name__}: {one_line(error)})"
        ) from error


def one_line(error: BaseException) -> str:
    """An error's text as a part of another's, which is one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def importable(value: Any) -> bool:
    """Whether another process can import a function or class under the name it has here."""
    name = value.__module__
    module = sys.modules.get(name) if isinstance(name, str) and name != "__main__" else None
    if module is None or pickled_by_value(name):
        return False
    found: Any = module
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is value


def pickled_by_value(module: str) -> bool:
    """Whether the user told cloudpickle to send what the module defines by value."""
    cloudpickle = sys.modules.get("cloudpickle")
    registered = cloudpickle.list_registry_pickle_by_value() if cloudpickle else ()
    return any(module == name or module.startswith(f"{name}.") for name in registered)


@lru_cache(maxsize=1)
def _pickler() -> Any:
    import cloudpickle  # slow to import, and most values never need it

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            if issubclass(type(obj), type) and obj not in _arrived and not importable(obj):
                _defined_here.add(obj)
            elif type(obj) is LRU_CACHE and not importable(obj):
                # Pickled by name otherwise, which no other process knows.
                return _new_cache, (obj.cache_parameters(),), obj.__wrapped__, None, None, _fill_cache
            elif type(obj) is cached_property:
                # Until Python 3.12 it holds a lock.
                return _new_property, (obj.func, obj.attrname)
            return super().reducer_override(obj)

    return Pickler


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "cloudpickle.cloudpickle" and name == "_class_setstate":
            return partial(_fill_class, super().find_class(module, name))
        return super().find_class(module, name)


def _fill_class(fill: Callable[[type, Any], type], kind: type, state: Any) -> type:
    """Give a class that travelled its content, unless it has come home: there it is what the user last made of it."""
    if kind in _defined_here:
        return kind
    _arrived.add(kind)
    return fill(kind, state)


def _new_cache(parameters: dict[str, Any]) -> Any:
    # Empty at first, as the function may refer to its own cache.
    target: list[Callable[..., Any]] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        return target[0](*args, **kwargs)

    cache: Any = lru_cache(**parameters)(call)
    cache.__dict__["_omniq_target"] = target
    return cache


def _fill_cache(cache: Any, func: Callable[..., Any]) -> None:
    cache.__dict__.pop("_omniq_target").append(func)
    update_wrapper(cache, func)


def _new_property(func: Callable[[Any], Any], name: str) -> cached_property[Any]:
    made = cached_property(func)
    made.__set_name__(object, name)
    return made
