"""Where a configuration's values come from: mappings, YAML files and ``OMNIQ_*`` variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from .errors import ConfigError

PREFIX = "OMNIQ_"
ENVIRONMENT = "OMNIQ_ENVIRONMENT"
"""Names the section of a source's ``environments`` that holds."""
_ENVIRONMENTS = "environments"
_ends_login = re.compile(r"[/?#\[\]\s]").search
_up_to_path = re.compile(r"[/?#]").split
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def from_source(source: Mapping[str, Any] | str | Path, environment: str | None) -> dict[str, Any]:
    """The values of a mapping or a YAML file: those at its top, and over them those of the environment's section.

    Args:
        source: The mapping, or the file's path.
        environment: Name of the section; ``None``: what ``OMNIQ_ENVIRONMENT`` names.

    Raises:
        ConfigError: The file can't be read, the section is missing, or a variable is not set.
    """
    values = dict(source) if isinstance(source, Mapping) else _from_yaml(Path(source))
    sections = values.pop(_ENVIRONMENTS, None) or {}
    name = environment or os.environ.get(ENVIRONMENT)
    if name is not None and sections:
        values = merged(values, _section(sections, name))
    return {key: _substituted(value, key) for key, value in values.items()}


def from_variables(fields: tuple[str, ...]) -> dict[str, Any]:
    """The values of the ``OMNIQ_*`` variables that are set."""
    named = {f"{PREFIX}{name.upper()}": name for name in fields}
    return {named[variable]: value for variable, value in os.environ.items() if variable in named}


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, the second one's values before the first one's; mappings within are merged in the same way."""
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        both[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return both


def _section(sections: Any, name: str) -> Mapping[str, Any]:
    section = sections.get(name) if isinstance(sections, Mapping) else None
    if not isinstance(section, Mapping):
        there = ", ".join(map(str, sections)) if isinstance(sections, Mapping) else "none"
        raise ConfigError(f"the configuration has no section {name!r} under `{_ENVIRONMENTS}`: there is {there}")
    return section


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


def _substituted(value: Any, field: str) -> Any:
    """The value with each ``${VARIABLE}`` (or ``${VARIABLE:-default}``) in its texts replaced, so that no secret needs
    to stand in a file.
    """
    if isinstance(value, Mapping):
        return {key: _substituted(each, field) for key, each in value.items()}
    if isinstance(value, list):
        return [_substituted(each, field) for each in value]
    return _VARIABLE.sub(lambda found: _variable(found, field), value) if isinstance(value, str) else value


def _variable(found: re.Match[str], field: str) -> str:
    name, default = found.groups()
    value = os.environ.get(name, default)
    if value is None:
        raise ConfigError(
            f"{field} refers to the environment variable {name}, which is not set: set it, or write "
            f"${{{name}:-default}}"
        )
    if _is_login(found) and _ends_login(value):
        raise ConfigError(
            f"{field} has the environment variable {name} in its URL's user or password, and a '/', '?', '#', '[', "
            f"']' or space in the value would end it too early: give the variable the value percent-encoded, as "
            f"urllib.parse.quote(password, safe='') does"
        )
    return value


def _is_login(found: re.Match[str]) -> bool:
    """Whether the variable stands between a URL's ``://`` and ``@``."""
    before, after = found.string[: found.start()], found.string[found.end() :]
    return "://" in before and not _ends_login(before.partition("://")[2]) and "@" in _up_to_path(after, maxsplit=1)[0]
