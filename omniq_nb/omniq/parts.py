"""What an open app is put together from: one driver for each store, and the components over them."""

from __future__ import annotations

import asyncio
import secrets

from .backends.registry import make_driver
from .config import Config
from .errors import MissingSecretError, OptionError
from .registry import DEFAULT, Registry
from .serialization import Serializer
from .signing import Signer, embedded_secret
from .storage.component import Component
from .storage.driver import Driver
from .storage.endings import each_of
from .storage.events import BaseEventStorage
from .storage.large import LargeValues, fetch, is_reference
from .storage.queue import BaseTaskQueue
from .storage.results import BaseResultStorage
from .storage.schedules import BaseScheduleStorage
from .storage.workers import WorkerRegistry
from .waiting import OutcomeWaiter
from .workers.functions import FunctionSource

_process_secret = secrets.token_bytes(32)
"""Signs what never leaves the process."""


class Parts:
    """What an open app consists of: drivers, and the components over them, all on one event loop.

    Args:
        config: The stores and their settings.
        registry: The app's own functions.
    """

    def __init__(self, config: Config, registry: Registry) -> None:
        drivers: dict[str, Driver] = {}

        def driver_for(component: str) -> Driver:
            url, options = config.store_url(component), config.store_options(component)
            name = f"{url} {options!r}"
            if name not in drivers:
                try:
                    drivers[name] = make_driver(url, durability=config.durability, options=options)
                except OptionError as error:
                    raise OptionError(f"{component}: {error}") from error
            return drivers[name]

        tasks, results, events = driver_for("queue"), driver_for("results"), driver_for("events")
        schedules = driver_for("schedules")
        self.large: LargeValues | None = None
        if config.large_values:
            self.large = LargeValues(driver_for("large_values"), config.large_value_bytes, tasks)
        self.drivers = tuple(drivers.values())
        self.signer = Signer(_secret(config, tasks))
        self.serializer = Serializer(self.signer)
        self.queue = BaseTaskQueue(
            tasks, results=results, events=events, large=self.large, max_claims=config.max_claims
        )
        self.results = BaseResultStorage(results, tasks=tasks)
        self.events = BaseEventStorage(events)
        self.schedules = BaseScheduleStorage(schedules)
        self.functions = FunctionSource(tasks, (registry, DEFAULT), self.signer)
        self.workers = WorkerRegistry(tasks, self.queue.outbox)
        self.waiter = OutcomeWaiter(self.results, tasks, config.poll_interval)
        self.queue.on_end = self.waiter.ended
        self.loop = asyncio.get_running_loop()

    def driver_of(self, component: str) -> Driver | None:
        """The open driver of ``queue``, ``results``, ``events``, ``schedules`` or ``large_values``."""
        if component == "large_values":
            return None if self.large is None else self.large.driver
        part: Component = getattr(self, component)
        return part.driver

    async def load(self, data: bytes, what: str) -> object:
        """A value as it was serialized, fetched first where it is large.

        Args:
            data: The value, or a reference to it.
            what: Names it in errors.

        Raises:
            SignatureError: It is a pickle that was signed with another secret.
            SerializationError: It is damaged or gone, or needs what this process lacks.
        """
        value = await fetch(self.large, data) if is_reference(data) else data
        return self.serializer.loads(value, what)

    def configure(self, config: Config) -> None:
        """Take over what may change while the stores are open."""
        self.queue.max_claims = config.max_claims
        self.waiter.poll_interval = config.poll_interval

    async def open(self) -> None:
        try:
            for driver in self.drivers:
                await driver.open()
        except BaseException:
            await each_of(*(driver.close for driver in self.drivers))
            raise

    async def close(self) -> None:
        await each_of(self.waiter.close, self.queue.close, *(driver.close for driver in self.drivers))


def check_secret(config: Config, tasks: Driver) -> None:
    """Without making one.

    Raises:
        ConfigError: The secret is too short, or there is none and the tasks' store needs one.
    """
    if config.secret is not None:
        Signer(config.secret)
    elif tasks.capabilities.shared and tasks.secret_directory() is None:
        raise MissingSecretError(tasks.url)


def _secret(config: Config, tasks: Driver) -> bytes:
    if config.secret is not None:
        return config.secret.encode()
    directory = tasks.secret_directory()
    if directory is not None:
        return embedded_secret(directory)
    if not tasks.capabilities.shared:
        return _process_secret
    raise MissingSecretError(tasks.url)
