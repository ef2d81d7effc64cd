"""From a URL to its driver, loaded when first asked for."""

from __future__ import annotations

import importlib
from typing import Any
from urllib.parse import urlsplit

from ..errors import MissingExtraError, UnknownBackendError
from ..masking import mask_url
from ..storage.driver import Driver

_DRIVERS = {
    "sqlite": ("omniq.backends.sqlite", "SQLiteDriver", "sqlite"),
    "memory": ("omniq.backends.memory", "MemoryDriver", "memory"),
}
"""Scheme to module, class and the extra that holds its client library."""


def make_driver(url: str, **options: Any) -> Driver:
    """An unopened driver for the URL.

    Raises:
        UnknownBackendError: No driver has its scheme.
        MissingExtraError: Its client library is not installed.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _DRIVERS:
        raise UnknownBackendError(mask_url(url), [f"{known}://" for known in _DRIVERS])
    module, name, extra = _DRIVERS[scheme]
    try:
        driver_class: type[Driver] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(scheme, extra) from error
    return driver_class(url, **options)
