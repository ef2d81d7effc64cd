"""From a URL to its driver, loaded when first asked for."""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple, Unpack

from ..errors import BrokenPluginError, MissingExtraError, UnknownBackendError
from ..masking import mask_url
from ..storage.driver import Driver, DriverSettings

ENTRY_POINTS = "omniq.backends"
"""Group of the entry points by which other packages add backends: ``scheme = "package.module:DriverClass"``."""


class _Backend(NamedTuple):
    module: str
    driver: str
    extra: str


_SQLITE = _Backend("omniq.backends.sqlite", "SQLiteDriver", "")
_MEMORY = _Backend("omniq.backends.memory", "MemoryDriver", "")
_FILE = _Backend("omniq.backends.files", "FileDriver", "")
_S3 = _Backend("omniq.backends.s3", "S3Driver", "s3")
_AZURE = _Backend("omniq.backends.azure", "AzureDriver", "azure")
_GCS = _Backend("omniq.backends.gcs", "GCSDriver", "gcs")
_FSSPEC = _Backend("omniq.backends.fsspec_files", "FsspecDriver", "")
_REDIS = _Backend("omniq.backends.redis", "RedisDriver", "redis")
_POSTGRES = _Backend("omniq.backends.postgres", "PostgresDriver", "postgres")
_NATS = _Backend("omniq.backends.nats", "NATSDriver", "nats")

BACKENDS: dict[str, _Backend] = {
    "sqlite": _SQLITE,
    "memory": _MEMORY,
    "file": _FILE,
    "s3": _S3,
    "az": _AZURE,
    "abfs": _AZURE,
    "gs": _GCS,
    "gcs": _GCS,
    "fsspec+": _FSSPEC,
    "redis": _REDIS,
    "rediss": _REDIS,
    "redis+cluster": _REDIS,
    "rediss+cluster": _REDIS,
    "postgresql": _POSTGRES,
    "postgres": _POSTGRES,
    "nats": _NATS,
    "tls": _NATS,
}
"""Scheme to the driver that comes with OmniQ; one that ends in a plus stands for all that begin like it."""


def make_driver(url: str, **settings: Unpack[DriverSettings]) -> Driver:
    """An unopened driver for the URL.

    Raises:
        UnknownBackendError: No driver has its scheme.
        MissingExtraError: Its client library is not installed.
        BrokenPluginError: It is another package's, and can't be loaded.
        ConfigError: The driver does not take the URL or an option.
    """
    return driver_class(url)(url, **settings)


def driver_class(url: str) -> type[Driver]:
    """The class of the driver for the URL.

    Raises:
        UnknownBackendError: No driver has its scheme.
        MissingExtraError: Its client library is not installed.
        BrokenPluginError: It is another package's, and can't be loaded.
    """
    scheme, is_url, _ = url.partition("://")  # with one slash it would be a URL too, of a host that is not named
    scheme = scheme.lower() if is_url else ""
    backend = BACKENDS.get(scheme) or BACKENDS.get(scheme[: scheme.find("+") + 1])
    if backend is not None:
        try:
            found: type[Driver] = getattr(importlib.import_module(backend.module), backend.driver)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "omniq":
                raise
            raise MissingExtraError(scheme, backend.extra) from error
        return found
    plugins = _plugins()
    if scheme not in plugins:
        known = (f"{name}PROTOCOL" if name.endswith("+") else name for name in (*BACKENDS, *plugins))
        raise UnknownBackendError(mask_url(url), [f"{name}://" for name in known])
    return _loaded(plugins[scheme])


def _loaded(plugin: EntryPoint) -> type[Driver]:
    try:
        found = plugin.load()
    except Exception as error:  # whatever the other package's import comes to
        raise BrokenPluginError(_shown(plugin), f"{type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Driver)):
        raise BrokenPluginError(_shown(plugin), "that is no subclass of omniq.storage.driver.Driver")
    return found


def _shown(plugin: EntryPoint) -> str:
    package = f" of the package {plugin.dist.name} {plugin.dist.version}" if plugin.dist else ""
    return f"the entry point `{plugin.name} = {plugin.value}`{package}"


def _plugins() -> dict[str, EntryPoint]:
    return {found.name: found for found in entry_points(group=ENTRY_POINTS)}
