"""The only place that pickles and unpickles: always signed, always checked first."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING

from .errors import SerializationError

if TYPE_CHECKING:
    from .signing import Signer

_PROTOCOL = 5
# What a pickle that carries code calls to build it; code runs only on the Python version that compiled it.
_BUILDS_CODE = b"_make_function"


def pickle_bytes(value: object) -> bytes:
    """``value`` pickled, functions and classes that can't be imported elsewhere by value.

    The first two bytes are the Python version. Whatever the value's own methods raise comes through.
    """
    import cloudpickle  # slow to import, and most values never need it

    version = bytes(sys.version_info[:2])
    pickled: bytes = cloudpickle.dumps(value, protocol=_PROTOCOL)
    return version + pickled


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
        return pickle.loads(pickled)  # noqa: S301 -- the signature was checked above
    except ImportError as error:
        raise SerializationError(
            f"{what} needs a module that can't be imported here ({error}): install it for the workers, or define what "
            f"you need from it in the notebook"
        ) from error
    except Exception as error:
        # Unpickling calls whatever the value's class defines, so anything can be raised.
        raise SerializationError(f"{what} can't be unpickled here ({type(error).__name__}: {error})") from error
