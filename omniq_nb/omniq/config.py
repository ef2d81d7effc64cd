"""One set of settings, whether they come by keyword, dict, YAML, `Config` or ``OMNIQ_*`` variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

import msgspec

from ._config_sources import PREFIX, from_source, from_variables
from .clock import LONGEST_SECONDS
from .errors import ConfigError, GarbledURLError
from .local import pinned
from .masking import MASK, is_garbled, mask_url

DEFAULT_URL = "sqlite:///.omniq/omniq.db"
COMPONENTS = ("queue", "results", "events", "schedules")
"""What can live on a store of its own."""
_NEAR = 0.8
"""So similar is a name to the one that was meant, from 0 to 1."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of an app. Durations are seconds; a timedelta, or text such as ``"90s"``, ``"5m"``, is taken too.

    Attributes:
        url: One store for everything.
        queue: The tasks' store, where it is another one.
        results: The results' store, where it is another one.
        events: The events' store, where it is another one.
        schedules: The schedules' store, where it is another one.
        secret: Signs what is pickled. The embedded default keeps its own in ``.omniq/secret``.
        default_queue: Queue of tasks that name none.
        lease: Seconds that a worker holds a task without a heartbeat.
        heartbeat: Seconds between heartbeats; a third of the lease unless set.
        poll_interval: Seconds between looks at a store that can't push; workers look once a second at least.
        max_claims: A task over which more workers than this vanished is not tried again.
        max_retries: Tries after the first.
        retry_delay: Seconds before the first retry.
        retry_backoff: Factor from one delay to the next.
        retry_jitter: Share of a delay, 0 to 1, that chance takes off or adds.
        retry_max_delay: No delay is longer.
        task_ttl: Seconds in which a task must have started; ``None``: it waits for ever.
        result_ttl: Seconds that an ended task and its result are kept; ``None``: until they are purged.
        event_retention: Seconds that events are kept; ``None``: for ever.
        durability: ``"normal"`` or ``"full"``, where the store has the choice.
        storage_options: What the stores' client libraries take besides the URL, as fsspec's users know them. Options
            by their names are those of ``url``, and of every other store whose URL has the same scheme. A store gets
            options of its own under its name, as in ``{"results": {"key": ...}}``, or where it is given as a mapping,
            ``results={"url": ..., "storage_options": {...}}``; then it gets these and no others.
        routes: Queues of functions that name none: patterns of names, as in ``{"report_*": "slow"}``; the first that
            fits counts.
        large_values: A store, such as ``s3://bucket/prefix``, for arguments and results that are large; the others
            then hold references to them.
        large_value_bytes: What is large.
    """

    url: str = DEFAULT_URL
    queue: str | None = None
    results: str | None = None
    events: str | None = None
    schedules: str | None = None
    secret: str | None = None
    default_queue: str = "default"
    lease: float = 30.0
    heartbeat: float | None = None
    poll_interval: float = 1.0
    max_claims: int = 5
    max_retries: int = 3
    retry_delay: float = 1.0
    retry_backoff: float = 2.0
    retry_jitter: float = 0.1
    retry_max_delay: float = 3600.0
    task_ttl: float | None = None
    result_ttl: float | None = None
    event_retention: float | None = None
    durability: str = "normal"
    storage_options: dict[str, Any] = {}
    routes: dict[str, str] = {}
    large_values: str | None = None
    large_value_bytes: int = 262_144

    @classmethod
    def load(
        cls,
        source: Config | Mapping[str, Any] | str | Path | None = None,
        *,
        environment: str | None = None,
        **fields: Any,
    ) -> Self:
        """Build a configuration. Later sources win: defaults, ``source``, ``OMNIQ_*`` variables, keyword arguments.

        A mapping or a file may have sections under ``environments``; that of the environment goes before what stands at
        its top. ``${VARIABLE}`` in its texts stands for an environment variable, ``${VARIABLE:-default}`` too.

        Args:
            source: A `Config`, a mapping, or the path of a YAML file.
            environment: Name of the section; what ``OMNIQ_ENVIRONMENT`` names unless given.
            **fields: Single fields; ``None`` leaves a field as it is.

        Raises:
            ConfigError: A field is unknown or has a value that it can't have.
        """
        if source is None or isinstance(source, Config):
            if environment:
                raise ConfigError(f"environment={environment!r} is a section of a mapping or a file, and none is given")
            values = {} if source is None else source.changed()
        else:
            values = from_source(source, environment)
        values |= from_variables(cls.__struct_fields__)
        values |= {name: value for name, value in fields.items() if value is not None}
        return cls().updated(**values)

    def updated(self, **fields: Any) -> Self:
        """A configuration with some fields changed.

        Raises:
            ConfigError: A field is unknown or has a value that it can't have.
        """
        flat = _flattened(fields, self.storage_options)
        parsed = {name: _parse(name, value) for name, value in flat.items()}
        config = msgspec.structs.replace(self, **parsed)
        _refuse_idle_options(config)
        if config.heartbeat is not None and config.heartbeat >= config.lease:
            raise ConfigError(
                f"heartbeat must be shorter than the lease ({config.lease:g} s), not {config.heartbeat:g} s: "
                f"a third of the lease is usual"
            )
        return config

    def changed(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        values = {field.name: getattr(self, field.name) for field in msgspec.structs.fields(self)}
        return {name: value for name, value in values.items() if value != getattr(_DEFAULTS, name)}

    def as_variables(self) -> dict[str, str | None]:
        """The ``OMNIQ_*`` variables that give another process this configuration; ``None``: not set."""
        variables: dict[str, str | None] = {}
        for name in self.__struct_fields__:
            value = getattr(self, name)
            shown = msgspec.json.encode(value).decode() if isinstance(value, dict) else str(value)
            variables[f"{PREFIX}{name.upper()}"] = None if value is None else shown
        return variables

    def pinned(self) -> Self:
        """The same stores, and they stay the same when the program changes its directory."""
        urls = {name: getattr(self, name) for name in ("url", *COMPONENTS, "large_values")}
        return msgspec.structs.replace(self, **{name: pinned(url) for name, url in urls.items() if url is not None})

    @property
    def heartbeat_seconds(self) -> float:
        """Seconds between heartbeats."""
        return self.heartbeat if self.heartbeat is not None else self.lease / 3

    def store_url(self, component: str) -> str:
        """The URL of ``queue``, ``results``, ``events``, ``schedules`` or ``large_values``."""
        url: str = getattr(self, component) or self.url
        return url

    def store_options(self, component: str) -> dict[str, Any]:
        """What the client library of the component's store takes besides the URL: the options that it has of its own;
        where it has none, those of `url`, if both are of one kind.
        """
        by_store = _by_store(self.storage_options)
        if component not in by_store and _scheme(self.store_url(component)) != _scheme(self.url):
            return {}
        options: dict[str, Any] = by_store.get(component, by_store.get("url", {}))
        return options

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{name}={_shown(name, value)}' for name, value in self.changed().items())})"


_DEFAULTS = Config()
_PLACES = {"url", *COMPONENTS, "large_values"}
"""The fields that say where a store is."""


def _shown(name: str, value: Any) -> str:
    if name in {"secret", "storage_options"}:  # of which any may be a password
        return repr(MASK)
    return repr(mask_url(value) if name in _PLACES else value)


def _refuse_idle_options(config: Config) -> None:
    by_store = _by_store(config.storage_options)
    stores = [*COMPONENTS, *(["large_values"] if config.large_values else [])]
    if by_store.get("url") and not any(name not in by_store and config.store_options(name) for name in stores):
        raise ConfigError(
            f"storage_options without the name of a store are for the url {mask_url(config.url)}, which nothing uses: "
            f"give them to a store by its name, as in {{'queue': {{...}}}}"
        )


def _scheme(url: str) -> str:
    return url.partition(":")[0].lower()


def _by_store(options: dict[str, Any]) -> dict[str, Any]:
    """Storage options under the names of the stores that they are for."""
    return options if options.keys() <= _PLACES else {"url": options}


def _flattened(values: Mapping[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """A store may be given as a mapping, ``{"url": ..., "storage_options": {...}}``: its options go with the others.

    Args:
        values: The fields.
        before: The other options, unless they are among the fields.
    """
    flat = dict(values)
    own: dict[str, Any] = {}
    for name in _PLACES & values.keys():
        store = values[name]
        if not isinstance(store, Mapping):
            continue
        if unknown := store.keys() - {"url", "storage_options"}:
            raise ConfigError(f"{name} has an unknown field {min(unknown)!r}: the fields are url, storage_options")
        flat[name] = store.get("url")
        if "storage_options" in store:
            own[name] = store["storage_options"]
    if own:
        others = _by_store(_parse("storage_options", flat.get("storage_options", before)))
        flat["storage_options"] = others | own
    return flat


# --- one field ---


def _parse(name: str, value: Any) -> Any:
    parser = _PARSERS.get(name)
    if parser is None:
        raise ConfigError(f"unknown configuration field {name!r}: the fields are {', '.join(Config.__struct_fields__)}")
    try:
        return parser(value)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        shown = _shown_wrong(name, value)
        raise ConfigError(f"{name} must be {error}, not {shown}") from None


def _shown_wrong(name: str, value: Any) -> str:
    if name in {"secret", "storage_options"}:
        return MASK
    if name in _PLACES:  # bytes of a URL, perhaps, or several URLs
        return repr(value) if isinstance(value, int) or not value else f"a {type(value).__name__}"
    return repr(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("text")
    return value


def _url(value: Any) -> str:
    url = _text(value)
    if is_garbled(url):
        raise GarbledURLError(url)
    return url


def _number(least: float, wanted: str) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        if isinstance(value, timedelta):
            value = value.total_seconds()
        try:
            number = _duration(value) if isinstance(value, str) else float(value)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(wanted) from None
        if isinstance(value, bool) or not least <= number <= LONGEST_SECONDS:
            raise ValueError(wanted)
        return number

    return parse


def _duration(text: str) -> float:
    number = text.strip().rstrip("msdh")
    unit = text.strip()[len(number) :] or "s"
    if unit not in _UNITS:
        raise ValueError(text)
    return float(number) * _UNITS[unit]


def _integer(least: int) -> Callable[[Any], int]:
    wanted = f"a whole number of at least {least}"

    def parse(value: Any) -> int:
        try:
            number = int(value)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(wanted) from None
        if isinstance(value, bool) or not least <= number < 2**31 or (isinstance(value, float) and value != number):
            raise ValueError(wanted)
        return number

    return parse


def _share(value: Any) -> float:
    number = _number(0, "a share from 0 to 1")(value)
    if number > 1:
        raise ValueError("a share from 0 to 1")
    return number


def _mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            raise TypeError("a mapping, as JSON where it is text") from None
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError("a mapping with text keys")
    return dict(value)


def _options(value: Any) -> dict[str, Any]:
    """Options by their names, or under the names of stores; both: those without are `url`'s."""
    options = _mapping(value)
    own: dict[str, Any] = {}
    for name in options.keys() & _PLACES:
        try:
            own[name] = _mapping(options[name])
        except TypeError as error:
            raise ConfigError(
                f"storage_options has {name!r}, the name of a store, so there must be {error}: write "
                f"{{{name!r}: {{'option': ...}}}}"
            ) from None
    common = {name: option for name, option in options.items() if name not in own}
    for name, option in common.items():
        near = get_close_matches(name, _PLACES, 1, _NEAR) if isinstance(option, Mapping) else []
        if near:
            raise ConfigError(f"storage_options has {name!r}, which is no store: did you mean {near[0]!r}?")
    return own | {"url": own.get("url", {}) | common} if own and common else own or common


def _routes(value: Any) -> dict[str, str]:
    routes = _mapping(value)
    if not all(isinstance(queue, str) and queue for queue in routes.values()):
        raise TypeError("a mapping from patterns of functions' names to queues")
    return routes


def _durability(value: Any) -> str:
    if value not in ("normal", "full"):
        raise ValueError("'normal' or 'full'")
    return str(value)


def _or_none(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None or value == "" else parse(value)


_seconds = _number(0, "a number of seconds of at least 0, a timedelta, or text such as '90s' or '5m'")
_positive = _number(0.001, "a number of seconds above 0, a timedelta, or text such as '90s' or '5m'")

_PARSERS: dict[str, Callable[[Any], Any]] = {
    "url": _url,
    "queue": _or_none(_url),
    "results": _or_none(_url),
    "events": _or_none(_url),
    "schedules": _or_none(_url),
    "secret": _or_none(_text),
    "default_queue": _text,
    "lease": _positive,
    "heartbeat": _or_none(_positive),
    "poll_interval": _positive,
    "max_claims": _integer(1),
    "max_retries": _integer(0),
    "retry_delay": _seconds,
    "retry_backoff": _number(1, "a number of at least 1"),
    "retry_jitter": _share,
    "retry_max_delay": _seconds,
    "task_ttl": _or_none(_positive),
    "result_ttl": _or_none(_positive),
    "event_retention": _or_none(_positive),
    "durability": _durability,
    "storage_options": _options,
    "routes": _routes,
    "large_values": _or_none(_url),
    "large_value_bytes": _integer(1),
}
