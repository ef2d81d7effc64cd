"""Which options a client library takes, as far as it says so."""

from __future__ import annotations

import inspect
import re

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_LISTINGS = frozenset({"use_listings_cache", "listings_expiry_time", "max_paths"})
"""What every file system of fsspec takes, though no signature has it."""
_DRIVERS = frozenset({"self", "asynchronous", "loop", "skip_instance_cache"})
"""What the drivers give themselves."""
_keywords = re.compile(r":keyword [^:]*?(\w+):").findall


def parameters_of(*classes: type) -> frozenset[str]:
    """The parameters of the classes' constructors, and of those of their bases, to which they pass on the rest."""
    constructors = {vars(base).get("__init__") for each in classes for base in each.__mro__ if base is not object}
    return frozenset(
        parameter.name
        for constructor in constructors
        if constructor is not None
        for parameter in inspect.signature(constructor).parameters.values()
        if parameter.kind in _NAMED
    )


def file_system_options(*classes: type) -> frozenset[str]:
    """What a file system takes, and what the other classes take to which it passes on the rest."""
    return (parameters_of(*classes) | _LISTINGS) - _DRIVERS


def documented_keywords(documented: type) -> frozenset[str]:
    """What a class takes of which only its documentation tells; empty where that was left out (``python -OO``)."""
    return frozenset(_keywords(documented.__doc__ or ""))
