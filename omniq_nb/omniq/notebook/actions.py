"""What the buttons do. Commands go to the store over the publisher's own connection, whatever the kernel does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from ..errors import OmniQError, OptionError
from ..models.schedule import ScheduleStatus
from ..parts import Parts
from .board import Board
from .model import Json
from .source import Source

Action = Callable[[Source, Board, Json], Awaitable[Any]]


async def perform(source: Source, board: Board, command: Json) -> Any:
    """Carry out a page's command; gives the reply's result.

    Raises:
        OmniQError: It is unknown or can't be done; the message is meant for the reader of the page.
    """
    op, args = command.get("op"), command.get("args")
    action = _ACTIONS.get(op) if isinstance(op, str) else None
    if action is None:
        raise OptionError(f"no command {op!r}: this view and the kernel's OmniQ are of different versions")
    return await action(source, board, args if isinstance(args, dict) else {})


def _text(args: Json, name: str) -> str:
    value = args.get(name)
    if not isinstance(value, str) or not value:
        raise OptionError(f"the command needs a {name}")
    return value


async def _cancel(source: Source, _: Board, args: Json) -> None:
    await source.parts.queue.cancel(_text(args, "task_id"))


async def _retry(source: Source, _: Board, args: Json) -> None:
    await source.parts.queue.retry(_text(args, "task_id"))


async def _detail(source: Source, _: Board, args: Json) -> Json:
    return await source.detail(_text(args, "task_id"))


async def _pause(source: Source, _: Board, args: Json) -> None:
    await source.parts.queue.pause(_text(args, "queue"))


async def _resume(source: Source, _: Board, args: Json) -> None:
    await source.parts.queue.resume(_text(args, "queue"))


async def _page(_: Source, board: Board, args: Json) -> None:
    board.pager.turn(args.get("page"), args.get("filter"))


async def _cancel_all(source: Source, board: Board, _: Json) -> int:
    return await source.parts.queue.cancel_each(_ids(board))


async def _retry_failed(source: Source, board: Board, _: Json) -> int:
    return await source.parts.queue.retry_failed(_ids(board))


def _ids(board: Board) -> Sequence[str]:
    return board.progress.ids if board.progress is not None else ()


async def _pause_schedule(source: Source, _: Board, args: Json) -> None:
    await _set_schedule(source.parts, _text(args, "schedule_id"), ScheduleStatus.PAUSED)


async def _resume_schedule(source: Source, _: Board, args: Json) -> None:
    await _set_schedule(source.parts, _text(args, "schedule_id"), ScheduleStatus.ACTIVE)


async def _set_schedule(parts: Parts, schedule_id: str, status: ScheduleStatus) -> None:
    changed = await parts.schedules.change(schedule_id, lambda each: msgspec.structs.replace(each, status=status))
    if changed is None:
        raise OmniQError(f"the schedule {schedule_id!r} is gone")


_ACTIONS: dict[str, Action] = {
    "cancel": _cancel,
    "retry": _retry,
    "detail": _detail,
    "pause": _pause,
    "resume": _resume,
    "page": _page,
    "cancel_all": _cancel_all,
    "retry_failed": _retry_failed,
    "pause_schedule": _pause_schedule,
    "resume_schedule": _resume_schedule,
}
