"""A cell's text to a function, and what of the notebook it takes along."""

from __future__ import annotations

import ast
import asyncio
import inspect
from typing import Any

import pytest
from omniq import OptionError
from omniq.notebook.cells import function_of
from omniq.notebook.names import read_before_assigned
from omniq.notebook.options import command_parsers, complete, task_parser


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("x = 1\nx", []),
        ("x = x + 1", ["x"]),
        ("x += 1", ["x"]),
        ("for i in items:\n    y = i\ny", ["y"]),
        ("if c:\n    x = 1\nprint(x)", ["x"]),
        ("with open(p) as f:\n    f.read()", []),
        ("import math\nmath.pi", []),
        ("try:\n    v = 1\nexcept E as e:\n    v = 2\nprint(v)", ["v"]),
        ("[i for i in range(3)]\nother = 1", []),
        ("i = [i for i in range(3)]", []),
        ("def f():\n    return x\nx = 1", ["x"]),
        ("def f(x):\n    y = x\n    return y\ny = 2", []),
        ("k = lambda z: z + k", ["k"]),
        ("class A:\n    b = a\na = 1", ["a"]),
        ("x: int = 1\nx", []),
        ("while go:\n    go = False", ["go"]),
        ("match m:\n    case {'a': x}:\n        r = x\nr = 1", []),
        ("del x", ["x"]),
        ("x = {k: v for k, v in d.items()}\nd = 2", ["d"]),
    ],
)
def test_names_that_are_read_before_they_are_assigned(source: str, names: list[str]) -> None:
    assert read_before_assigned(ast.parse(source)) == names


def test_a_cell_that_ends_with_a_function_defines_it(shell: Any) -> None:
    found = function_of(
        shell, "LIMIT = 3\ndef helper(x):\n    return x + LIMIT\n\ndef work(x):\n    return helper(x)\n", None
    )
    assert not found.is_body
    assert found.func(1) == 4
    assert shell.user_ns["LIMIT"] == 3
    assert inspect.getsource(found.func) == "def work(x):\n    return helper(x)\n"


def test_a_cell_is_a_function_of_the_values_that_it_changes(shell: Any) -> None:
    shell.user_ns.update(total=10, step=2, unused=object())
    found = function_of(shell, "total += step\nfor n in range(3):\n    total += n\ntotal", "summed")
    assert found.is_body
    assert found.values == {"total": 10}
    assert found.func(**found.values) == 15
    assert shell.user_ns["total"] == 10
    assert inspect.getsource(found.func).startswith("def summed(total):\n    total += step\n")


def test_a_cell_may_await(shell: Any) -> None:
    found = function_of(shell, "import asyncio\nawait asyncio.sleep(0, 'slept')", "nap")
    assert asyncio.run(found.func()) == "slept"


def test_a_cell_without_a_value_gives_none(shell: Any) -> None:
    assert function_of(shell, "x = 1", "nothing").func() is None


def test_text_of_several_lines_is_not_changed(shell: Any) -> None:
    assert function_of(shell, 'text = """a\n  b\n"""\ntext', "text_of").func() == "a\n  b\n"


def test_magics_inside_of_a_cell_are_understood(shell: Any) -> None:
    found = function_of(shell, "def work():\n    return 1\n", None)
    assert found.func() == 1


@pytest.mark.parametrize(
    ("cell", "name", "expected"),
    [
        ("", None, "empty"),
        ("# only a comment", None, "empty"),
        ("await x()\ndef f(): pass", None, "awaits outside"),
        ("x = 1\ndef work(:\n    pass", None, "no Python: .* \\(line 3\\)"),
        ("1 + 1", "not a name", "a cell's name"),
        ("from os import *\n1", "stars", "can't run as a task"),
        ("import omniq\n@omniq.task(queue='io')\ndef own(): pass", None, "own options would be lost"),
    ],
)
def test_cells_that_can_be_no_task(shell: Any, cell: str, name: str | None, expected: str) -> None:
    with pytest.raises(OptionError, match=expected):
        function_of(shell, cell, name)


def test_assignments_stand_for_flags() -> None:
    options = task_parser().read("name=fetch queue='a b' --max-retries 3 timeout=1.5")
    assert (options.name, options.queue, options.max_retries, options.timeout) == ("fetch", "a b", 3, 1.5)
    assert task_parser().read("").queue is None
    with pytest.raises(OptionError, match="unrecognized arguments: colour=red"):
        task_parser().read("colour=red")
    with pytest.raises(OptionError, match="No closing quotation"):
        task_parser().read("name='x")


def test_completion() -> None:
    start = command_parsers()["start"]
    assert complete(start, [], "--q") == ["--queues"]
    assert complete(start, ["--type"], "") == ["async", "thread"][: len(complete(start, ["--type"], ""))]
    assert "--queues" not in complete(start, ["--queues", "a"], "--")
    assert complete(command_parsers()["help"], [], "ev") == ["events"]
