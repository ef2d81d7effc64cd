"""One set of settings, whether they come by keyword, dict, YAML, `Config` or ``OMNIQ_*`` variables."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import msgspec

from .clock import LONGEST_SECONDS
from .errors import ConfigError
from .masking import mask_url

DEFAULT_URL = "sqlite:///.omniq/omniq.db"
ENVIRONMENT_PREFIX = "OMNIQ_"
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
        poll_interval: Seconds between looks at a store that can't push.
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

    @classmethod
    def load(cls, source: Config | Mapping[str, Any] | str | Path | None = None, **fields: Any) -> Self:
        """Build a configuration. Later sources win: defaults, ``source``, ``OMNIQ_*`` variables, keyword arguments.

        Args:
            source: A `Config`, a mapping, or the path of a YAML file.
            **fields: Single fields; ``None`` leaves a field as it is.

        Raises:
            ConfigError: A field is unknown or has a value that it can't have.
        """
        values = _from_source(source)
        values |= _from_environment(os.environ)
        values |= {name: value for name, value in fields.items() if value is not None}
        config = cls(**{name: _parse(name, value) for name, value in values.items()})
        if config.heartbeat is not None and config.heartbeat >= config.lease:
            raise ConfigError(
                f"heartbeat must be shorter than the lease ({config.lease:g} s), not {config.heartbeat:g} s: "
                f"a third of the lease is usual"
            )
        return config

    @property
    def heartbeat_seconds(self) -> float:
        """Seconds between heartbeats."""
        return self.heartbeat if self.heartbeat is not None else self.lease / 3

    def store_url(self, component: str) -> str:
        """The URL of ``queue``, ``results``, ``events`` or ``schedules``."""
        url: str = getattr(self, component) or self.url
        return url

    def __repr__(self) -> str:
        changed = []
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                shown = "'***'" if field.name == "secret" else repr(mask_url(value) if _is_url(field.name) else value)
                changed.append(f"{field.name}={shown}")
        return f"Config({', '.join(changed)})"


def _is_url(name: str) -> bool:
    return name in {"url", "queue", "results", "events", "schedules"}


def _from_source(source: Config | Mapping[str, Any] | str | Path | None) -> dict[str, Any]:
    if source is None:
        return {}
    if isinstance(source, Config):
        return {
            field.name: value
            for field in msgspec.structs.fields(source)
            if (value := getattr(source, field.name)) != field.default
        }
    if isinstance(source, Mapping):
        return dict(source)
    return _from_yaml(Path(source))


def _from_yaml(path: Path) -> dict[str, Any]:
    try:
        content = msgspec.yaml.decode(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"can't read the configuration {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"the configuration {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"the configuration {path} must be a mapping of fields, not {type(content).__name__}")
    return content


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    names = {f"{ENVIRONMENT_PREFIX}{name.upper()}": name for name in Config.__struct_fields__}
    return {names[variable]: value for variable, value in environment.items() if variable in names}


# --- one field ---


def _parse(name: str, value: Any) -> Any:
    parser = _PARSERS.get(name)
    if parser is None:
        raise ConfigError(f"unknown configuration field {name!r}: the fields are {', '.join(Config.__struct_fields__)}")
    try:
        return parser(value)
    except (TypeError, ValueError) as error:
        shown = "***" if name == "secret" else repr(value)
        raise ConfigError(f"{name} must be {error}, not {shown}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("text")
    return value


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


def _durability(value: Any) -> str:
    if value not in ("normal", "full"):
        raise ValueError("'normal' or 'full'")
    return str(value)


def _or_none(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None or value == "" else parse(value)


_seconds = _number(0, "a number of seconds of at least 0, a timedelta, or text such as '90s' or '5m'")
_positive = _number(0.001, "a number of seconds above 0, a timedelta, or text such as '90s' or '5m'")

_PARSERS: dict[str, Callable[[Any], Any]] = {
    "url": _text,
    "queue": _or_none(_text),
    "results": _or_none(_text),
    "events": _or_none(_text),
    "schedules": _or_none(_text),
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
}
