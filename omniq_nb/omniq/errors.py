"""Every error that OmniQ raises, with its message written once, in its class.

A message is one line: what happened, what it means, what to do. Foreign errors (a driver's, the operating system's) are
translated where they enter and stay chained as ``__cause__``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from .masking import mask_url


class OmniQError(Exception):
    """Base of every error that OmniQ raises."""


# --- what the caller asked for ---------------------------------------------------------------------------------------


class ConfigError(OmniQError, ValueError):
    """A configuration field has a value that it can't have, or is not a field at all."""


class GarbledURLError(ConfigError):
    """A URL has a character, in a password perhaps, that ends its login or host there."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"the URL {mask_url(url)} can't be read, since a '/', '?', '#', '[', ']' or space ends its user, password "
            f"or host too early: write user and password percent-encoded, as urllib.parse.quote(password, safe='') "
            f"gives them"
        )


class MissingSecretError(ConfigError):
    """A store that machines share needs a secret, and none was given."""

    def __init__(self, store: str) -> None:
        super().__init__(
            f"the store {mask_url(store)} is shared, so its pickles need a secret that all processes know: "
            f"set OMNIQ_SECRET, or secret=..."
        )


class OptionError(OmniQError, ValueError):
    """A task, enqueue or worker option is unknown or has a value that it can't have."""

    @classmethod
    def unknown(cls, name: str, allowed: Iterable[str]) -> OptionError:
        return cls(f"unknown option {name!r}: the options are {', '.join(sorted(allowed))}")

    @classmethod
    def unknown_to_store(cls, store: str, name: str, allowed: Iterable[str]) -> OptionError:
        names = ", ".join(sorted(allowed))
        takes = f"its options are {names}" if names else "it takes none"
        return cls(
            f"the store {mask_url(store)} takes no option {name!r}: {takes} (another store's are given by its name, as "
            f"in storage_options={{'results': {{...}}}})"
        )


class NaiveDatetimeError(OptionError):
    """A datetime without a time zone: it would mean another moment on another machine."""

    def __init__(self, field: str) -> None:
        super().__init__(
            f"{field} is a naive datetime, which means another moment on another machine: "
            f"write datetime.now().astimezone() or datetime(..., tzinfo=ZoneInfo('Europe/Berlin'))"
        )


class UnknownFunctionError(OmniQError, LookupError):
    """No function is registered under the name, and none was shipped with the task."""

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        names = ", ".join(sorted(known)) or "none"
        super().__init__(
            f"no task function {name!r} is registered here (registered: {names}): define it with @app.task or "
            f"@omniq.task in this process, or start the worker with --import MODULE"
        )
        self.name = name


class DuplicateFunctionError(OmniQError, ValueError):
    """Two different functions under one name."""

    def __init__(self, name: str, module: str) -> None:
        super().__init__(
            f"a task function named {name!r} is already registered from {module!r}: give this one a name of its own, "
            f"@task(name=...)"
        )


class TaskNotFoundError(OmniQError, LookupError):
    """No task has the id."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"no task {task_id!r} in this store: it was purged, its retention ended, or the id is wrong")
        self.task_id = task_id


class TaskStateError(OmniQError):
    """The task is in a state from which it can't go where it was sent."""

    def __init__(self, task_id: str, action: str, status: str, needed: str) -> None:
        super().__init__(f"can't {action} task {task_id}: it is {status}, and only a task that is {needed} can be")
        self.task_id = task_id
        self.status = status


class DuplicateTaskError(OmniQError):
    """A task with this id is already there."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"a task with the id {key!r} is already in this store: ids name one task for ever, choose another"
        )


class DeadlockError(OmniQError, RuntimeError):
    """A blocking call on the very loop that would have to answer it."""

    def __init__(self, call: str, instead: str) -> None:
        super().__init__(f"{call} would wait for ever: it blocks the event loop that has to do the work; {instead}")


class NotOpenError(OmniQError, RuntimeError):
    """What was used was not opened yet, or is closed already."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not open, or was closed: use it inside its `async with` (or `with`) block")


# --- what became of a task -------------------------------------------------------------------------------------------


class TaskError(OmniQError):
    """Base of what a handle raises instead of giving a result."""

    task_id: str


class TaskFailed(TaskError):
    """The task raised, and its retries are exhausted.

    Attributes:
        task_id: The task's id.
        error_type: Qualified name of the exception's class, as the worker saw it.
        error: The exception's text.
        remote_traceback: The worker's formatted traceback.
    """

    def __init__(self, task_id: str, error_type: str, error: str, remote_traceback: str = "") -> None:
        self.task_id, self.error_type, self.error, self.remote_traceback = task_id, error_type, error, remote_traceback
        shown = f"{error_type}: {error}" if error else error_type
        remote = f"\n\nTraceback on the worker:\n{remote_traceback.rstrip()}" if remote_traceback else ""
        super().__init__(f"task {task_id} failed with {shown}{remote}")

    def __reduce__(self) -> tuple[type[TaskFailed], tuple[str, str, str, str]]:
        return TaskFailed, (self.task_id, self.error_type, self.error, self.remote_traceback)


class _TaskEnded(TaskError):
    what = ""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"task {task_id} {self.what}")
        self.task_id = task_id


class TaskCancelled(_TaskEnded):
    """The task was cancelled, so it has no result."""

    what = "was cancelled"


class TaskExpired(_TaskEnded):
    """The task's time to live ended before a worker could start it."""

    what = "expired: its ttl ended before a worker could start it"


class TaskSkipped(_TaskEnded):
    """A dependency's outcome ruled the task out."""

    what = "was skipped: a task that it depends on did not succeed"


class ResultTimeoutError(OmniQError, TimeoutError):
    """Waiting for a result took longer than the caller allowed; the task itself goes on."""

    def __init__(self, task_id: str, timeout: float, status: str) -> None:
        super().__init__(
            f"task {task_id} has no result after {timeout:g} s (it is {status}); it goes on, await the handle again"
        )
        self.task_id = task_id


class LeaseLost(OmniQError):
    """Another owner has the task now, or it was cancelled: whatever this worker computes is not accepted.

    A task that is stopped for it finds the text in its `asyncio.CancelledError`.
    """

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"the lease on task {task_id} is lost, since it was cancelled or given to another worker: what this worker "
            f"comes to is not accepted"
        )
        self.task_id = task_id


class TaskTimeoutError(OmniQError, TimeoutError):
    """A task ran longer than its ``timeout``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the task ran longer than its timeout of {seconds:g} s")


class WorkerLostError(OmniQError):
    """Too many workers vanished while they ran the task (the poison cap)."""

    def __init__(self, claims: int) -> None:
        super().__init__(
            f"{claims} workers vanished while they ran this task, so it is not tried again (max_claims): it may crash "
            f"or exhaust the process that runs it"
        )


class Retry(Exception):
    """Raise it in a task to have the task tried again.

    Args:
        delay: Seconds, or a timedelta, until the next attempt; ``None`` leaves it to the task's back-off.
        reason: Kept as the attempt's error text.

    Example:
        >>> raise Retry(delay=30, reason="rate limited")
    """

    def __init__(self, delay: float | timedelta | None = None, *, reason: str = "the task asked for a retry") -> None:
        super().__init__(reason)
        from .clock import seconds  # clock needs this module

        self.delay = None if delay is None else seconds(delay, "delay")


# --- values and trust ------------------------------------------------------------------------------------------------


class SerializationError(OmniQError, TypeError):
    """A value can't be turned into bytes, or bytes can't be turned back into the value."""


class SignatureError(OmniQError):
    """Pickled bytes without a signature, or signed with another secret: refused before a byte is unpickled."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} is not signed with this app's secret, so it is not unpickled: give every process that shares the "
            f"store the same OMNIQ_SECRET (the embedded default keeps it in .omniq/secret)"
        )


class OmniQWarning(UserWarning):
    """Base of every warning that OmniQ gives."""


class LargePayloadWarning(OmniQWarning):
    """A value or a function is so large that storing and sending it costs more than most tasks do."""

    def __init__(self, what: str, size: int, culprit: str, advice: str) -> None:
        largest = f", most of it in {culprit}" if culprit else ""
        super().__init__(f"{what} takes {size / 1000:,.0f} kB{largest}: {advice}")


class UnknownVariableWarning(OmniQWarning):
    """An environment variable looks like a setting of OmniQ's, and is none."""

    def __init__(self, variable: str, near: str | None) -> None:
        hint = f"did you mean {near}?" if near else "see `help(omniq.Config)`"
        super().__init__(f"the environment variable {variable} is no setting of OmniQ's and has no effect: {hint}")


class SecretReadableWarning(OmniQWarning):
    """Other users of the machine can read the secret that signs pickles."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"other users can read the secret {path}, so they can make your workers run their code: `chmod 600` it, or "
            f"delete it (tasks that are still queued are then refused) to have a new one made"
        )


# --- stores ----------------------------------------------------------------------------------------------------------


class StoreError(OmniQError):
    """Base of what goes wrong in a store.

    Args:
        store: Its URL; a password in it is masked.
        detail: What is known beyond what the class says.
    """

    what = "could not be used"
    advice = "see the chained exception"

    def __init__(self, store: str, detail: str = "") -> None:
        store = mask_url(store)
        super().__init__(f"the store {store} {self.what}{f' ({detail})' if detail else ''}: {self.advice}")
        self.store = store
        self.detail = detail


class StoreReadOnlyError(StoreError):
    """The store, or the directory that it lies in, can't be written."""

    what = "is read-only"
    advice = "make the file and its directory writable for this user, or choose another place"


class ServerReadOnlyError(StoreReadOnlyError):
    """The server takes no writes: a standby, or one whose transactions are read-only."""

    advice = "connect to the primary server, or have it allow this user to write"


class StoreFullError(StoreError):
    """No space is left."""

    what = "can't grow, its disk is full"
    advice = "free some space and go on; nothing that was accepted is lost"


class StoreIOError(StoreError):
    """The operating system could not read or write the store."""

    what = "can't be read or written"
    advice = (
        "look at its disk, which may be full, over a quota or failing, and go on; nothing that was accepted is lost"
    )


class StoreCorruptError(StoreError):
    """The store's content is damaged, or it is no store of OmniQ's."""

    what = "is damaged or is not an OmniQ store"
    advice = "restore a copy of it, or choose another place or namespace"


class FileCorruptError(StoreCorruptError):
    """The SQLite file is damaged, or it is some other program's."""

    advice = "move the file away and start afresh, or restore a copy; `sqlite3 FILE .recover` may save its rows"


class StoreAlteredError(StoreCorruptError):
    """Tables or the like that OmniQ made are missing or changed, or others have their names."""

    what = "is not as OmniQ made it"
    advice = "restore it from a backup, or choose another namespace"


class StoreTooNewError(StoreError):
    """The store was written by a newer version of OmniQ."""

    what = "was written by a newer version of OmniQ"
    advice = "upgrade with `pip install -U omniq-nb`, or use another store"


class StoreUnavailableError(StoreError):
    """The store can't be reached now.

    Attributes:
        sent: Whether the call may have reached the store, and have been carried out there.
    """

    what = "can't be reached"
    advice = "check that it is there and running, and that URL and password are right"

    def __init__(self, store: str, detail: str = "", *, sent: bool = False) -> None:
        super().__init__(store, detail)
        self.sent = sent


class FileUnavailableError(StoreUnavailableError):
    """The SQLite file can't be opened."""

    what = "can't be opened"
    advice = "check its path: it has to be a file, in a directory that is there or can be made"


class StoreDeniedError(StoreError):
    """The store is there, and does not let this user in."""

    what = "refuses this user"
    advice = "check the user, the password and the rights in the URL or the credentials"


class StoreTooOldError(StoreError):
    """The server is older than what OmniQ needs of it."""

    what = "is on a server that is too old"
    advice = "upgrade the server"


class ValueTooLargeError(StoreError):
    """The store takes no value of this size."""

    what = "can't hold a value this large"
    advice = "write it to a file and pass the path"


class StoreBusyError(StoreError):
    """Others have kept the store busy for longer than OmniQ waits."""

    what = "is kept busy by others for longer than OmniQ waits"
    advice = "try again; fewer writers at a time help"


class FileBusyError(StoreBusyError):
    """Another process has held the SQLite file for longer than OmniQ waits."""

    what = "is held by another process for longer than a minute"
    advice = "end the program that keeps a transaction open (a database browser, perhaps) and go on"


class UnknownBackendError(ConfigError):
    """No backend has the URL's scheme."""

    def __init__(self, url: str, known: Iterable[str]) -> None:
        super().__init__(f"no backend for {url!r}: the URL must begin with one of {', '.join(sorted(known))}")


class MissingExtraError(ConfigError):
    """The backend's client library is not installed."""

    def __init__(self, scheme: str, extra: str) -> None:
        super().__init__(f"the backend {scheme}:// needs a package that is missing: pip install 'omniq-nb[{extra}]'")


class BrokenPluginError(ConfigError):
    """Another package's backend can't be loaded."""

    def __init__(self, plugin: str, reason: str) -> None:
        reason = " ".join(reason.split())
        super().__init__(
            f"{plugin}, in the group omniq.backends, can't be loaded ({reason}): install the package anew, or "
            f"uninstall it"
        )
