"""Signatures: who can write to a store must not thereby run code, so nothing is unpickled that we did not sign."""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import secrets
import stat
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from .errors import ConfigError, SecretReadableWarning, SignatureError, StoreFullError, StoreReadOnlyError

_SIZE = hashlib.sha256().digest_size
_KEY_LABEL = b"omniq/1 key for signing pickles"
_PAYLOAD_LABEL = b"omniq/1 signed pickle"
_MINIMUM = 16
_PATIENCE = 2.0


class Signer:
    """Signs bytes with HMAC-SHA256 and opens only what the same secret signed.

    The key is derived from the secret, so the secret itself never meets a payload. A ``context`` says what the bytes
    are for (``"value"``, ``"function fetch"``): bytes signed for one purpose are refused for another.

    Args:
        secret: Text or bytes, at least 16 of them.
    """

    __slots__ = ("_base",)

    def __init__(self, secret: bytes | str) -> None:
        raw = secret.encode() if isinstance(secret, str) else bytes(secret)
        if len(raw) < _MINIMUM:
            raise ConfigError(
                f"secret must be at least {_MINIMUM} bytes long, not {len(raw)}: make one with "
                f"`python -c 'import secrets; print(secrets.token_hex(32))'`"
            )
        key = hmac.digest(raw, _KEY_LABEL, "sha256")
        self._base = hmac.new(key, _PAYLOAD_LABEL, "sha256")

    def sign(self, payload: bytes, context: str = "") -> bytes:
        """``payload`` with its signature before it."""
        return self._signature(payload, context) + payload

    def open(self, signed: bytes, what: str, context: str = "") -> bytes:
        """The payload of ``signed``.

        Raises:
            SignatureError: The signature is missing or was made with another secret or for another ``context``;
                ``what`` is named in the message.
        """
        signature, payload = signed[:_SIZE], signed[_SIZE:]
        if not hmac.compare_digest(signature, self._signature(payload, context)):
            raise SignatureError(what)
        return payload

    def _signature(self, payload: bytes, context: str) -> bytes:
        mac = self._base.copy()
        label = context.encode()
        mac.update(len(label).to_bytes(4, "big") + label)
        mac.update(payload)
        return mac.digest()

    def __repr__(self) -> str:
        return "Signer(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Signer holds the app's secret and is never pickled")


def embedded_secret(directory: Path) -> bytes:
    """The secret in ``directory/secret``, made on first use (mode 0600).

    Processes that make it at once agree: one wins, and all read what it wrote.

    Raises:
        ConfigError: The file holds no usable secret.
        StoreReadOnlyError: It, or its directory, can't be written or read.
        StoreFullError: No space is left.
    """
    path = directory / "secret"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        secret = _read(path) or _create(path)
    except OSError as error:
        _refuse(path, error)
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        warnings.warn(SecretReadableWarning(str(path)), stacklevel=2)
    return secret


def _create(path: Path) -> bytes:
    secret = secrets.token_hex(32).encode()
    draft = path.with_name(f".secret-{secrets.token_hex(8)}")
    _write_new(draft, secret)
    try:
        # A link to a finished file: it is there in full or not at all, and only one process can make it.
        os.link(draft, path)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        _create_without_links(path, secret)
    finally:
        draft.unlink(missing_ok=True)
    return _wait_for(path)


def _create_without_links(path: Path, secret: bytes) -> None:
    # FAT and some network file systems have no hard links. Readers wait until the content is whole.
    with suppress(FileExistsError):
        _write_new(path, secret)


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> bytes:
    """The secret, or nothing when there is no file."""
    return _wait_for(path) if path.exists() else b""


def _wait_for(path: Path) -> bytes:
    # It is empty only while a process without hard links is between making and filling it.
    deadline = time.monotonic() + _PATIENCE
    while not (content := path.read_bytes().strip()) and time.monotonic() < deadline:
        time.sleep(0.01)
    if len(content) < _MINIMUM:
        raise ConfigError(
            f"the secret in {path} is shorter than {_MINIMUM} bytes: delete the file to have a new one made"
        )
    return content


def _refuse(path: Path, error: OSError) -> NoReturn:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise StoreFullError(str(path.parent)) from error
    raise StoreReadOnlyError(str(path.parent), str(error)) from error
