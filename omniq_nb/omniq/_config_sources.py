"""Where a configuration's values come from: mappings, YAML files and ``OMNIQ_*`` variables."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from .errors import ConfigError, UnknownVariableWarning

PREFIX = "OMNIQ_"
ENVIRONMENT = "OMNIQ_ENVIRONMENT"
"""Names the section of a source's ``environments`` that holds."""
_ENVIRONMENTS = "environments"
_ends_login = re.compile(r"[/?#\[\]\s]").search
_up_to_path = re.compile(r"[/?#]").split
_is_kubernetes = re.compile(rf"{PREFIX}(\w+_)?(PORT|SERVICE_HOST|SERVICE_PORT)(_\w+)?").fullmatch
"""What Kubernetes sets in every container for a service that is called omniq."""
_told: set[str] = set()
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def from_source(source: Mapping[str, Any] | str | Path, environment: str | None) -> dict[str, Any]:
    """The values of a mapping or a YAML file: those at its top, and over them those of the environment's section.

    Args:
        source: The mapping, or the file's path.
        environment: Name of the section; ``None``: what ``OMNIQ_ENVIRONMENT`` names, which is for all sources of the
            process, those without sections too.

    Raises:
        ConfigError: The file can't be read, the section is missing, or a variable is not set.
    """
    values = dict(source) if isinstance(source, Mapping) else _from_yaml(Path(source))
    sections = values.pop(_ENVIRONMENTS, None) or {}
    name = environment or (os.environ.get(ENVIRONMENT) if sections else None)
    if name:
        values = merged(values, _section(sections, name))
    return {key: _substituted(value, key) for key, value in values.items()}


def from_variables(fields: tuple[str, ...]) -> dict[str, Any]:
    """The values of the ``OMNIQ_*`` variables that are set. Of those that are none a warning tells, once."""
    named = {f"{PREFIX}{name.upper()}": name for name in fields}
    for variable in sorted(os.environ.keys() - named.keys() - {ENVIRONMENT} - _told):
        if variable.startswith(PREFIX) and not _is_kubernetes(variable):
            _told.add(variable)
            near = get_close_matches(variable.removeprefix(PREFIX).lower(), fields, 1)
            meant = f"{PREFIX}{near[0].upper()}" if near else None
            warnings.warn(UnknownVariableWarning(variable, meant), stacklevel=4)
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
        there = ", ".join(map(str, sections)) if isinstance(sections, Mapping) and sections else "none"
        raise ConfigError(f"the configuration has no section {name!r} under `{_ENVIRONMENTS}`: there is {there}")
    return section


def _from_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes()
        content = msgspec.yaml.decode(text)
    except OSError as error:
        raise ConfigError(f"can't read the configuration {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"the configuration {path} is not YAML: {' '.join(str(error).split())}") from error
    if content is None:  # an empty file, or one of comments
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"the configuration {path} must be a mapping of fields, not {type(content).__name__}")
    from yaml import SafeLoader, compose  # takes a while to import, and few configurations are files

    _refuse_repeated_keys(compose(text, SafeLoader), path)
    return content


def _refuse_repeated_keys(node: Any, path: Path) -> None:
    """Of two values under one key YAML takes the last one, and the other one would be without effect."""
    if node.id == "sequence":
        for each in node.value:
            _refuse_repeated_keys(each, path)
    if node.id != "mapping":
        return
    keys: set[tuple[str, str]] = set()
    for key, value in node.value:
        name = (key.tag, str(key.value))
        if name in keys:
            raise ConfigError(
                f"the configuration {path} has {key.value!r} twice, again in line {key.start_mark.line + 1}: "
                f"leave one of them"
            )
        keys.add(name)
        _refuse_repeated_keys(value, path)


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
