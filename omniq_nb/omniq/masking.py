"""Passwords don't show: not in a repr, an event, a log or a widget."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus, urlsplit

MASK = "***"
_PATHS = frozenset({"sqlite", "memory", "file", "s3", "az", "abfs", "gs", "gcs"})
"""Schemes whose paths are people's own, and may have an ``@``."""
_TOKENS = frozenset({"nats", "tls"})
"""Schemes where a login without a password is a token."""
_authority_end = re.compile(r"[/?#]|$").search
_query = re.compile(r"\?[\w.%-]+=").search
_is_host = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:\d*)?").fullmatch
_ends_login = re.compile(r"[/?#\[\]\s]").search
_PARAMETER = re.compile(r"(?P<start>^|[?&;#\s])(?P<name>[\w.%-]+)=(?P<value>.*?)(?=[&;\s][\w.%-]+=|$)", re.DOTALL)
"""What follows a name, up to the next name: a password that is not percent-encoded may have any character."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET_WORDS = frozenset({"pass", "pwd", "pw", "key", "apikey", "accountkey", "sig", "sas", "auth", "creds", "jwt"})
_SECRET_PARTS = ("password", "passwd", "passphrase", "secret", "token", "credential", "signature")


class _Taken(NamedTuple):
    """A URL: what stands before its login, the login without its ``@``, and the rest; no login: ``None``."""

    start: str
    login: str | None
    rest: str


def mask_url(url: str) -> str:
    """The URL with each password and token in it replaced by ``***``, in its query too.

    Where a character ends the login that should have been percent-encoded, all that may belong to it is replaced.
    """
    start, login, rest = _taken_apart(url)
    shown = "" if login is None else _masked_login(start, login)
    return f"{start}{shown}{_PARAMETER.sub(_masked_parameter, rest)}"


def mask_text(text: str, url: str) -> str:
    """A text, of a client library's error perhaps, without what is secret in the URL that it is about."""
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def is_garbled(url: str) -> bool:
    """Whether the URL's login has a character that ends it there, so that a client would take a part for the host."""
    login = _taken_apart(url).login
    try:
        urlsplit(url)
    except ValueError:
        return True
    return login is not None and _ends_login(login) is not None


def _taken_apart(url: str) -> _Taken:
    scheme, mark, _ = url.partition("://")
    begin = len(scheme) + len(mark) if mark else 0
    at = _end_of_login(url, scheme, begin)
    login = url[begin:at]
    if at < 0 or (":" not in login and scheme not in _TOKENS and _ends_login(login)):  # an @ in a path
        return _Taken(url[:begin], None, url[begin:])
    return _Taken(url[:begin], login, url[at:])


def _end_of_login(url: str, scheme: str, begin: int) -> int:
    """Where the login's ``@`` is: the last one of what people may have meant as the login; -1: there is none."""
    end = _authority_end(url, begin)
    authority = url[begin : end.start() if end else len(url)]
    is_sound = "@" in authority or all(map(_is_host, authority.split(",")))
    if is_sound and begin and scheme in _PATHS:
        return url.rfind("@", begin, begin + len(authority))
    query = _query(url, begin)
    at = url.rfind("@", begin, query.start() if query else len(url))
    return at if at >= 0 or is_sound else url.rfind("@", begin)


def _masked_login(start: str, login: str) -> str:
    user, colon, _ = login.partition(":")
    if _ends_login(login):
        return MASK
    if colon:
        return f"{user}:{MASK}"
    return MASK if _is_token(start) else login


def _is_token(start: str) -> bool:
    return start.removesuffix("://") in _TOKENS


def _masked_parameter(found: re.Match[str]) -> str:
    return f"{found['start']}{found['name']}={MASK}" if _is_secret(found["name"]) else found[0]


def _is_secret(name: str) -> bool:
    name = unquote(name)
    words = {word.lower() for word in _WORD.findall(name)}
    return not words.isdisjoint(_SECRET_WORDS) or any(part in name.lower() for part in _SECRET_PARTS)


def _secrets(url: str) -> set[str]:
    start, login, rest = _taken_apart(url)
    secrets = {found["value"] for found in _PARAMETER.finditer(rest) if _is_secret(found["name"])}
    if login is not None:
        user, colon, password = login.partition(":")
        secrets |= {password if colon else user} if colon or _is_token(start) else set()
    return {text for secret in secrets for text in (secret, unquote(secret), unquote_plus(secret)) if text}
