"""The state machine: every transition goes where the drawing says, and keeps what it must keep."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omniq.clock import SECOND
from omniq.core import lifecycle
from omniq.core.lifecycle import CANCELLABLE, REPLAYABLE, TRANSITIONS
from omniq.models.record import RUNNING, Record
from omniq.models.task import RetryPolicy, TaskSpec, TaskStatus, decode_spec, task_of

NOW = 1_767_225_600 * SECOND
SPEC = TaskSpec("f", b"\x92\x90\x80", retry=RetryPolicy(max_retries=2), metadata={"a": 1}, failures=1, orderly=1)


def _pending(spec: TaskSpec = SPEC, *, expires_at: int | None = None) -> Record:
    return lifecycle.enqueue("id", "io", 7, spec, NOW, NOW + 5, expires_at)


def _running(spec: TaskSpec = SPEC, *, claims: int = 2, expires_at: int | None = None) -> Record:
    changes = {"state": RUNNING, "owner": "w", "claims": claims, "version": 3, "due_at": NOW + 30 * SECOND}
    return msgspec.structs.replace(_pending(spec, expires_at=expires_at), **changes)


def test_drawing_matches() -> None:
    drawing = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    (machine,) = re.findall(r"```mermaid\nstateDiagram(?:-v2)?\n(.*?)```", drawing, re.DOTALL)
    drawn: set[tuple[str, str]] = set(re.findall(r"^\s*(\w+)\s*-->\s*(\w+)\s*:", machine, re.MULTILINE))
    assert drawn == {(start.value, end.value) for start, ends in TRANSITIONS.items() for end in ends}


def test_every_status_is_in_the_machine() -> None:
    assert set(TRANSITIONS) == set(TaskStatus)


def test_every_status_can_be_reached() -> None:
    reached, new = set(), {TaskStatus.PENDING, TaskStatus.BLOCKED}
    while new:
        reached |= new
        new = {end for start in new for end in TRANSITIONS[start]} - reached
    assert reached == set(TaskStatus)


def test_final_statuses_are_left_only_by_a_replay() -> None:
    for status in TaskStatus:
        if status.is_final:
            assert TRANSITIONS[status] == ({TaskStatus.PENDING} if status in REPLAYABLE else set())


@pytest.mark.parametrize("status", TaskStatus)
def test_what_is_doomed_has_ended_and_is_over_by_any_clock(status: TaskStatus) -> None:
    record = msgspec.structs.replace(_running(), state=status.value)
    doomed = lifecycle.doom(record)
    assert TaskStatus(doomed.state) in {status, *TRANSITIONS[status]}
    assert TaskStatus(doomed.state).is_final
    assert (doomed.due_at, doomed.owner, doomed.version) == (None, None, record.version + 1)
    assert doomed.updated_at == record.updated_at, "a purge of what is old would not find it again"
    assert lifecycle.is_doomed(doomed)
    assert not lifecycle.is_doomed(record)
    assert lifecycle.is_overdue(doomed, 1)


def test_what_may_be_cancelled_and_replayed_is_what_the_machine_says() -> None:
    assert {start for start, ends in TRANSITIONS.items() if TaskStatus.CANCELLED in ends} == CANCELLABLE
    assert {status for status in TaskStatus if status.is_final and TRANSITIONS[status]} == REPLAYABLE


def test_new_task_is_pending_and_due_when_asked() -> None:
    record = _pending(expires_at=NOW + 99)
    assert (record.state, record.due_at, record.expires_at, record.version, record.claims) == (
        "pending",
        NOW + 5,
        NOW + 99,
        1,
        0,
    )
    assert (record.key, record.partition, record.rank, record.owner) == ("id", "io", -7, None)
    assert decode_spec(record.body) == SPEC


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        (lifecycle.succeed(_running(), SPEC, NOW + 1), TaskStatus.SUCCEEDED),
        (lifecycle.fail(_running(), SPEC, "ValueError: x", NOW + 1), TaskStatus.FAILED),
        (lifecycle.cancel(_running(), SPEC, NOW + 1), TaskStatus.CANCELLED),
        (lifecycle.expire(_running(), SPEC, NOW + 1), TaskStatus.EXPIRED),
    ],
)
def test_ended_task_belongs_to_nobody_and_is_never_due(changed: Record, status: TaskStatus) -> None:
    assert TaskStatus(changed.state) is status
    assert status in TRANSITIONS[TaskStatus.RUNNING]
    assert (changed.owner, changed.due_at, changed.expires_at) == (None, None, None)
    assert changed.updated_at == NOW + 1


@pytest.mark.parametrize(
    "changed",
    [
        lifecycle.succeed(_running(), SPEC, NOW + 1),
        lifecycle.fail(_running(), SPEC, "E", NOW + 1),
        lifecycle.retry(_running(), SPEC, "E", NOW + 9, NOW + 1),
        lifecycle.release(_running(), SPEC, NOW + 1),
        lifecycle.cancel(_running(), SPEC, NOW + 1),
        lifecycle.expire(_running(), SPEC, NOW + 1),
        lifecycle.replay(_running(), SPEC, NOW + 1),
    ],
)
def test_no_transition_loses_what_names_and_orders_the_task(changed: Record) -> None:
    before = _running()
    for field in ("kind", "key", "partition", "rank", "created_at", "claims"):
        assert getattr(changed, field) == getattr(before, field)
    assert changed.version == before.version + 1
    spec = decode_spec(changed.body)
    assert (spec.func, spec.payload, spec.metadata, spec.retry) == (SPEC.func, SPEC.payload, SPEC.metadata, SPEC.retry)


def test_retry_counts_the_failure_and_keeps_the_time_to_live() -> None:
    record = lifecycle.retry(_running(expires_at=NOW + 500), SPEC, "ValueError: x", NOW + 77, NOW + 1)
    spec = decode_spec(record.body)
    assert (record.state, record.due_at, record.expires_at, record.owner) == ("pending", NOW + 77, NOW + 500, None)
    assert (spec.failures, spec.orderly, spec.error) == (2, 2, "ValueError: x")


def test_release_does_not_count_as_failure() -> None:
    spec = decode_spec(lifecycle.release(_running(), SPEC, NOW + 1).body)
    assert (spec.failures, spec.orderly, spec.error) == (1, 2, None)


def test_replay_gives_all_retries_again_and_forgets_the_error() -> None:
    spec = TaskSpec("f", b"", failures=3, orderly=1, error="ValueError: x")
    replayed = lifecycle.replay(_running(spec, claims=6, expires_at=NOW), spec, NOW + 1)
    again = decode_spec(replayed.body)
    assert (again.failures, again.error, replayed.expires_at, replayed.due_at) == (0, None, None, NOW + 1)
    assert not lifecycle.is_poison(msgspec.structs.replace(replayed, claims=7), again, 1)


def test_retention_begins_when_the_task_ends() -> None:
    spec = TaskSpec("f", b"", result_ttl=60)
    for changed in (
        lifecycle.succeed(_running(spec), spec, NOW + 1),
        lifecycle.fail(_running(spec), spec, "E", NOW + 1),
        lifecycle.cancel(_running(spec), spec, NOW + 1),
        lifecycle.expire(_running(spec), spec, NOW + 1),
    ):
        assert changed.expires_at == NOW + 1 + 60 * SECOND


def test_time_to_live_ends_at_its_very_moment() -> None:
    record = _pending(expires_at=NOW + 10)
    assert not lifecycle.is_overdue(record, NOW + 9)
    assert lifecycle.is_overdue(record, NOW + 10)
    assert not lifecycle.is_overdue(_pending(), NOW * 2)


@given(cap=st.integers(1, 50), orderly=st.integers(0, 50))
def test_so_many_vanished_workers_and_no_fewer_make_poison(cap: int, orderly: int) -> None:
    spec = TaskSpec("f", b"", orderly=orderly)
    # Claims: the orderly ones, those whose workers vanished, and the one just made.
    assert not lifecycle.is_poison(_running(spec, claims=orderly + cap - 1 + 1), spec, cap)
    assert lifecycle.is_poison(_running(spec, claims=orderly + cap + 1), spec, cap)


def test_task_shows_what_its_record_holds() -> None:
    task = task_of(_running(expires_at=NOW + SECOND))
    assert (task.id, task.func, task.queue, task.priority, task.status) == ("id", "f", "io", 7, TaskStatus.RUNNING)
    assert (task.attempt, task.max_retries, task.worker, task.metadata) == (2, 2, "w", {"a": 1})
    assert task.expires_at is not None
    assert task.expires_at.timestamp() == 1_767_225_601
