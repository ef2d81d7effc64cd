"""What an attempt's end writes: task, result and events, decided without a store."""

from __future__ import annotations

import json

import msgspec
import pytest
from omniq.clock import SECOND
from omniq.core import lifecycle, settlement
from omniq.core.settlement import Claimed, Ended, Raised, Released, Settlement, Succeeded
from omniq.ids import new_id
from omniq.models.record import RUNNING
from omniq.models.result import ErrorInfo, decode_result
from omniq.models.task import RetryPolicy, TaskSpec, decode_spec

NOW = 1_767_225_600 * SECOND
ERROR = ErrorInfo("ValueError", "broken", "Traceback ...")


def _claimed(spec: TaskSpec | None = None, *, claims: int = 1) -> Claimed:
    spec = spec or TaskSpec("f", b"", retry=RetryPolicy(max_retries=2, delay=10, jitter=0), schedule_id="s")
    record = lifecycle.enqueue("id", "io", 0, spec, NOW - 100 * SECOND, NOW - 100 * SECOND, None)
    changes = {"state": RUNNING, "owner": "w", "claims": claims, "version": 1 + claims, "due_at": NOW + 9}
    return Claimed(msgspec.structs.replace(record, **changes), spec)


def _settle(claimed: Claimed, outcome: settlement.Outcome) -> Settlement:
    ended = Ended(claimed, outcome, NOW - 2 * SECOND, NOW)
    return settlement.settle(ended, worker="w", now=NOW, chance=0.5)


def _types(settled: Settlement) -> list[str]:
    return [event.event_type for event in settled.events]


def test_success_writes_task_result_and_one_event() -> None:
    claimed = _claimed(claims=3)
    settled = _settle(claimed, Succeeded(b"value"))
    assert settled.previous is claimed.record
    assert settled.task.state == "succeeded"
    assert settled.result is not None
    assert settled.result.key == f"id.{claimed.record.created_at:x}.3", "another task may have the id after a purge"
    body = decode_result(settled.result.body)
    assert (body.status, body.value, body.error, body.worker) == ("succeeded", b"value", None, "w")
    assert (body.started_at, body.finished_at) == (NOW - 2 * SECOND, NOW)
    assert _types(settled) == ["task.succeeded"]


def test_a_result_s_key_needs_no_more_than_an_id_of_our_own() -> None:
    claimed = _claimed(claims=2)
    claimed.record.key = new_id()
    result = _settle(claimed, Succeeded(b"")).result
    assert result is not None
    assert result.key == f"{claimed.record.key}.2"


def test_events_name_task_queue_worker_attempt_duration_and_schedule() -> None:
    (event,) = _settle(_claimed(claims=3), Succeeded(b"")).events
    assert (event.task_id, event.func, event.queue, event.worker) == ("id", "f", "io", "w")
    assert (event.attempt, event.duration, event.schedule_id, event.ts) == (3, 2.0, "s", NOW)


def test_failure_with_retries_left_waits_for_the_policy_s_delay() -> None:
    settled = _settle(_claimed(), Raised(ERROR, ("builtins.ValueError",)))
    assert (settled.task.state, settled.task.due_at, settled.result) == ("pending", NOW + 10 * SECOND, None)
    assert decode_spec(settled.task.body).error == "ValueError: broken"
    assert _types(settled) == ["task.failed", "task.retried"]
    assert json.loads(settled.events[0].data or "") == {"error": "ValueError: broken"}
    assert json.loads(settled.events[1].data or "") == {"delay": 10}


def test_last_failure_is_dead_and_keeps_its_traceback() -> None:
    spec = TaskSpec("f", b"", retry=RetryPolicy(max_retries=2), failures=2)
    settled = _settle(_claimed(spec), Raised(ERROR, ()))
    assert settled.task.state == "failed"
    assert settled.result is not None
    assert decode_result(settled.result.body).error == ERROR
    assert _types(settled) == ["task.failed", "task.dead"]


def test_hopeless_failure_is_not_retried() -> None:
    assert _settle(_claimed(), Raised(ERROR, (), final=True)).task.state == "failed"


def test_requested_retry_ignores_the_class_rules_and_names_its_delay() -> None:
    spec = TaskSpec("f", b"", retry=RetryPolicy(max_retries=1, retry_on=("builtins.OSError",)))
    settled = _settle(_claimed(spec), Raised(ERROR, ("omniq.errors.Retry",), requested=True, delay=0.25))
    assert (settled.task.state, settled.task.due_at) == ("pending", NOW + SECOND // 4)


def test_requested_retry_is_no_way_around_the_number_of_retries() -> None:
    spec = TaskSpec("f", b"", retry=RetryPolicy(max_retries=1), failures=1)
    assert _settle(_claimed(spec), Raised(ERROR, (), requested=True)).task.state == "failed"


def test_handed_back_task_is_due_at_once_and_has_no_result() -> None:
    settled = _settle(_claimed(), Released())
    assert (settled.task.state, settled.task.due_at, settled.result) == ("pending", NOW, None)
    assert decode_spec(settled.task.body).failures == 0
    assert _types(settled) == ["task.released"]


def test_expiry_has_no_result() -> None:
    settled = settlement.expire(_claimed(), NOW)
    assert (settled.task.state, settled.result, _types(settled)) == ("expired", None, ["task.expired"])


def test_result_is_kept_as_long_as_its_task() -> None:
    settled = _settle(_claimed(TaskSpec("f", b"", result_ttl=60)), Succeeded(b""))
    assert settled.result is not None
    assert settled.result.expires_at == settled.task.expires_at == NOW + 60 * SECOND


@pytest.mark.parametrize("outcome", [Succeeded(b"too large"), Raised(ERROR, ())])
def test_outcome_that_the_store_refuses_becomes_a_failure_with_that_reason(outcome: settlement.Outcome) -> None:
    claimed = _claimed()
    refused = settlement.refuse(_settle(claimed, outcome), ErrorInfo("E", "too large"), NOW)
    assert refused.previous is claimed.record
    assert refused.task.state == "failed"
    assert decode_spec(refused.task.body).error == "E: too large"
    assert refused.result is not None
    body = decode_result(refused.result.body)
    assert (body.worker, body.started_at, body.value) == ("w", NOW - 2 * SECOND, None)
