"""Who is measured with whom: OmniQ on a kind of store, the peers there, and what the project aims at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.figures import Source


@dataclass(frozen=True)
class Rivals:
    """OmniQ and its peers on one kind of store.

    Attributes:
        store: Its name in the report.
        ours: OmniQ's name there.
        peers: Those that keep what they took as well as OmniQ does; only these are compared with goals.
        with_results: Those of them that store results.
        concurrent: Those whose callers on one event loop can send at the same time.
        bulk: Those with a call that sends many.
        unsafe: Others, which have lines of their own in the summary.
        goals: What the project aims at, by what is compared.
        suffix: Of the names of scenarios.
        backlog: The sizes to measure, see `scenarios.backlog.SIZES`.
        backlog_peers: The peers that are measured with them.
    """

    store: str
    ours: str
    peers: tuple[str, ...]
    with_results: tuple[str, ...] = ()
    concurrent: tuple[str, ...] = ()
    bulk: tuple[str, ...] = ()
    unsafe: tuple[str, ...] = ()
    goals: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""
    backlog: tuple[str, ...] = ("small", "huge")
    backlog_peers: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """In the order of tables."""
        return (self.ours, *self.peers, *self.unsafe)

    def goal(self, what: str) -> str:
        """What the project aims at; empty: nothing in particular."""
        return self.goals.get(what, "")

    def theirs(self, key: str) -> tuple[Source, ...]:
        """A figure of all peers."""
        return tuple((name, key) for name in self.peers)

    def theirs_with_results(self, key: str) -> tuple[Source, ...]:
        """A figure of the peers that do as much as OmniQ; of all, where none does."""
        return tuple((name, key) for name in self.with_results or self.peers)

    @property
    def their_callers(self) -> tuple[Source, ...]:
        """The most that they store task by task: by many callers where they can, else by one."""
        names = self.with_results or self.peers
        return tuple((name, "callers" if name in self.concurrent else "each") for name in names)

    @property
    def their_bulk(self) -> tuple[Source, ...]:
        """The most that they store."""
        return tuple((name, "bulk") for name in self.bulk) or self.their_callers


SQLITE = Rivals(
    store="SQLite",
    ours="omniq",
    peers=("huey", "litequeue", "persist-queue", "flexiq"),
    with_results=("huey", "flexiq"),
    bulk=("flexiq",),
    unsafe=("huey-nosync",),
    goals={
        "drain": "12 times the best peer, aim for 20",
        "two": "1.3 times one process",
        "each": "the best of them",
        "callers": "3 times",
        "bulk": "1.5 times the best peer",
        "start": "2 at most",
        "result": "5 at most",
        "idle": "under 1",
    },
    backlog=("small", "large", "huge"),
    backlog_peers=("litequeue",),
)

REDIS = Rivals(
    store="Redis",
    ours="omniq-redis",
    peers=("saq-redis", "huey-redis", "flexiq-redis"),
    with_results=("saq-redis", "huey-redis", "flexiq-redis"),
    concurrent=("saq-redis",),
    bulk=("flexiq-redis",),
    goals={
        "drain": "8 times the best peer",
        "computing": "1.5 times one process",
        "bulk": "1.5 times the best peer",
        "start": "1 at most",
        "result": "2 at most",
    },
    suffix="-redis",
    backlog_peers=("saq-redis",),
)

POSTGRES = Rivals(
    store="PostgreSQL",
    ours="omniq-postgres",
    peers=("pgqueuer", "saq-postgres"),
    with_results=("saq-postgres",),
    concurrent=("pgqueuer", "saq-postgres"),
    bulk=("pgqueuer",),
    goals={
        "drain": "1.3 times pgqueuer's",
        "computing": "1.5 times one process",
        "bulk": "1.5 times pgqueuer's",
        "start": "4 at most",
        "result": "8 at most",
    },
    suffix="-postgres",
    backlog_peers=("pgqueuer",),
)

NATS = Rivals(
    store="NATS",
    ours="omniq-nats",
    peers=("faststream", "taskiq-nats"),
    concurrent=("faststream", "taskiq-nats"),
    goals={"drain": "1.2 times the best peer", "computing": "1.5 times one process"},
    suffix="-nats",
    backlog=("small", "large", "huge"),
    backlog_peers=("faststream",),
)

FILES = Rivals(
    store="Files",
    ours="omniq-files",
    peers=("huey-files",),
    with_results=("huey-files",),
    goals={"drain": "1,500 at least", "computing": "1.5 times one process"},
    suffix="-files",
    backlog=("small", "large", "huge"),
)

STORES = {"sqlite": SQLITE, "redis": REDIS, "postgres": POSTGRES, "nats": NATS, "files": FILES}
"""By the names that stand for all of their scenarios on the command line."""
