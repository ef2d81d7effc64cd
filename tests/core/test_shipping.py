"""Functions of cells and scripts arrive in a process that never saw them, as they were when they were shipped."""

import asyncio
import functools
import inspect
import linecache
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from omniq.errors import LargePayloadWarning, SerializationError, SignatureError
from omniq.serialization import Serializer, describe_error
from omniq.shipping import FunctionShipper, ShippedFunction, load_shipped, must_ship
from omniq.signing import Signer

SECRET = "a secret of enough bytes"
SIGNER = Signer(SECRET)

CELL = '''
import asyncio, collections, dataclasses, enum, functools, inspect, math

OFFSET = 10

def helper(x):
    return x + OFFSET

def plain(x):
    """Docs."""
    return helper(x) * 2  # a remark

def recursive(n):
    return 1 if n < 2 else n * recursive(n - 1)

def is_even(n):
    return n == 0 or is_odd(n - 1)

def is_odd(n):
    return n != 0 and is_even(n - 1)

def make(k):
    def inner(x):
        return x + k
    return inner

closure = make(5)

async def coroutine(x):
    await asyncio.sleep(0)
    return helper(x)

def logged(prefix):
    def decorate(func):
        @functools.wraps(func)
        def wrapper(*args, **kwargs):
            return prefix, func(*args, **kwargs)
        return wrapper
    return decorate

@logged("log")
def decorated(x):
    return helper(x)

def squares(n):
    for i in range(n):
        yield i * i

def uses_generator(n):
    return list(squares(n))

anonymous = lambda x: x + OFFSET
partial = functools.partial(plain, 3)

class Colour(enum.Enum):
    RED = "red"

@dataclasses.dataclass
class Point:
    x: int
    y: int = 2
    def norm(self):
        return math.hypot(self.x, self.y) + OFFSET

class Point3(Point):
    def norm(self):
        return super().norm() + 1

class Adder:
    def __init__(self, n):
        self.n = n
    def __call__(self, x):
        return self.n + x
    def add(self, x):
        return x - self.n

adder, bound = Adder(3), Adder(3).add

@functools.lru_cache(maxsize=None)
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

def uses_cache(n):
    return fibonacci(n), fibonacci(n), fibonacci.cache_info().hits > 0, fibonacci.__name__

class Lazy:
    @functools.cached_property
    def value(self):
        return OFFSET

def lazy():
    one = Lazy()
    return one.value, one.__dict__

def takes(point):
    return type(point).__name__, point.norm(), isinstance(point, Point)

def returns(x):
    return [Point3(x), Colour.RED]

def has_source():
    return inspect.getsource(has_source), inspect.getsource(helper), inspect.getsource(Point.norm)

def fails(x):
    return helper(x) / 0  # the failing line

def counts():
    global OFFSET
    OFFSET += 1
    return OFFSET

def defaults(x, *, y=OFFSET, z=[1]):
    return x, y, z
'''

CALLS: list[tuple[str, str, Any]] = [
    # name, arguments as Python, expected
    ("plain", "(1,)", 22),
    ("recursive", "(5,)", 120),
    ("is_even", "(7,)", False),
    ("closure", "(1,)", 6),
    ("coroutine", "(1,)", 11),
    ("decorated", "(1,)", ("log", 11)),
    ("uses_generator", "(4,)", [0, 1, 4, 9]),
    ("anonymous", "(1,)", 11),
    ("partial", "()", 26),
    ("adder", "(4,)", 7),
    ("bound", "(4,)", 1),
    ("takes", "(Point(3, 4),)", ("Point", 15.0, True)),
    ("takes", "(Point3(3, 4),)", ("Point3", 16.0, True)),
    ("counts", "()", 11),
    ("uses_cache", "(30,)", (832040, 832040, True, "fibonacci")),
    ("fibonacci", "(30,)", 832040),
    ("lazy", "()", (10, {"value": 10})),
    ("defaults", "(1,)", (1, 10, [1])),
]

# Runs the cell as a notebook or as a script, ships what it is told to, writes it down.
SENDER = """
import pathlib, sys
import msgspec
from omniq.serialization import Serializer
from omniq.shipping import FunctionShipper
from omniq.signing import Signer

def send(space, calls, target):
    signer = Signer("a secret of enough bytes")
    sent = []
    for name, args in calls:
        shipped = FunctionShipper(space[name], name, signer).ship()
        sent.append([shipped, Serializer(signer).dumps(eval(args, space), "args")])
    pathlib.Path(target).write_bytes(msgspec.msgpack.encode(sent))
"""

# A process that knows nothing of the cell.
RECEIVER = """
import asyncio, inspect, pathlib, sys
import msgspec
from omniq.serialization import Serializer, describe_error
from omniq.shipping import ShippedFunction, load_shipped
from omniq.signing import Signer

signer = Signer("a secret of enough bytes")
serializer = Serializer(signer)
received = msgspec.msgpack.decode(pathlib.Path(sys.argv[1]).read_bytes(), type=list[tuple[ShippedFunction, bytes]])
results = []
for shipped, args in received:
    try:
        func = load_shipped(shipped.code, signer, shipped.name)
        result = func(*serializer.loads(args))
        result = asyncio.run(result) if inspect.iscoroutine(result) else result
    except Exception as error:
        result = describe_error(error).traceback
    results.append(serializer.dumps(result))
pathlib.Path(sys.argv[2]).write_bytes(msgspec.msgpack.encode(results))
"""


def run(code: str, *arguments: object) -> None:
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    subprocess.run(command, check=True, timeout=100, env={**os.environ, "PYTHONHASHSEED": "random"})


def send_from_notebook(cell: str, calls: list[tuple[str, str]], target: Path) -> None:
    run(
        SENDER
        + textwrap.dedent(f"""
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config
        shell = InteractiveShell(config=Config(HistoryManager={{"enabled": False}}))
        shell.run_cell({cell!r}, store_history=True).raise_error()
        send(shell.user_ns, {calls!r}, {str(target)!r})
        """)
    )


def send_from_script(cell: str, calls: list[tuple[str, str]], target: Path) -> None:
    script = target.with_suffix(".py")
    script.write_text(
        f"{SENDER}\n{cell}\nif __name__ == '__main__':\n    send(globals(), {calls!r}, {str(target)!r})\n"
    )
    subprocess.run([sys.executable, "-W", "error", str(script)], check=True, timeout=100)
    script.unlink()  # the receiver has no copy of it


def receive(sent: Path) -> list[Any]:
    answer = sent.with_suffix(".answer")
    run(RECEIVER, sent, answer)
    serializer = Serializer(SIGNER)
    return [serializer.loads(data) for data in msgspec.msgpack.decode(answer.read_bytes())]


ORIGINS = {"notebook": send_from_notebook, "script": send_from_script}


@pytest.fixture(scope="module", params=ORIGINS)
def arrived(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[ShippedFunction, Any]]:
    """What was shipped, and what its call gave in another process."""
    target = tmp_path_factory.mktemp(request.param) / "sent"
    others = [("returns", "(1,)"), ("has_source", "()"), ("fails", "(1,)")]
    ORIGINS[request.param](CELL, [(name, args) for name, args, _ in CALLS] + others, target)
    shipped = msgspec.msgpack.decode(target.read_bytes(), type=list[tuple[ShippedFunction, bytes]])
    return [(func, result) for (func, _), result in zip(shipped, receive(target), strict=True)]


@pytest.mark.parametrize("index", range(len(CALLS)), ids=[f"{name}{args}" for name, args, _ in CALLS])
def test_it_runs_where_it_was_never_defined(arrived: list[tuple[ShippedFunction, Any]], index: int) -> None:
    name, _, expected = CALLS[index]
    shipped, result = arrived[index]
    assert shipped.name == name
    assert result == expected


def test_instances_of_its_classes_come_back(arrived: list[tuple[ShippedFunction, Any]]) -> None:
    point, colour = arrived[-3][1]
    assert (type(point).__name__, point.x, point.y) == ("Point3", 1, 2)
    assert str(colour) == "Colour.RED"


def test_its_source_is_there(arrived: list[tuple[ShippedFunction, Any]]) -> None:
    own, helper, method = arrived[-2][1]
    assert own.startswith("def has_source():\n    return inspect.getsource")
    assert helper == "def helper(x):\n    return x + OFFSET\n"
    assert method == "    def norm(self):\n        return math.hypot(self.x, self.y) + OFFSET\n"
    assert arrived[0][0].source == 'def plain(x):\n    """Docs."""\n    return helper(x) * 2  # a remark\n'


def test_its_traceback_shows_its_lines(arrived: list[tuple[ShippedFunction, Any]]) -> None:
    trace = arrived[-1][1]
    assert "return helper(x) / 0  # the failing line" in trace
    assert "in fails" in trace
    assert "ZeroDivisionError" in trace


def test_the_digest_is_the_same_in_every_process(tmp_path: Path) -> None:
    digests = set()
    for number in range(2):
        target = tmp_path / str(number)
        send_from_notebook(CELL, [(name, "()") for name in ("plain", "closure", "coroutine", "decorated")], target)
        sent = msgspec.msgpack.decode(target.read_bytes(), type=list[tuple[ShippedFunction, bytes]])
        digests.add(tuple(shipped.digest for shipped, _ in sent))
    assert len(digests) == 1


def define(source: str) -> dict[str, Any]:
    """Run a cell: the namespace, whose functions are nowhere to be imported from."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(textwrap.dedent(source), space)
    return space


def load(shipped: ShippedFunction) -> Callable[..., Any]:
    return load_shipped(shipped.code, SIGNER, shipped.name)


def test_a_class_that_comes_home_is_what_the_user_made_of_it() -> None:
    """A result brings its class along, as it was when it was sent; the notebook may have changed it since."""
    space = define("n = 1\nclass A:\n    size = 1\n    def m(self): return n\nvalue = A()\ndef f(): return A()")
    kind, serializer = space["A"], Serializer(SIGNER)
    data, shipped = serializer.dumps(space["value"]), FunctionShipper(space["f"], "f", SIGNER).ship()
    method = kind.m
    space["n"] = kind.size = 2
    for back in (serializer.loads(data), load(shipped)()):
        assert type(back) is kind
        assert (back.size, back.m()) == (2, 2)
    assert kind.m is method


# --- what can't be shipped, what is too large ------------------------------------------------------------------------


UNSHIPPABLE = {
    "def f(): return lock": "its global 'lock' is a _thread.lock",
    "def f(): return lock.acquire()": "its global 'lock' is a _thread.lock",
    "def h(): return lock\ndef f(): return h()": "its global 'h', its global 'lock' is a _thread.lock",
    "def make(lock): return lambda: lock\nf = make([lock])": "its closure variable 'lock'[0] is a _thread.lock",
    "class App: pass\napp = App()\napp.loop = lock\ndef f(): app": "its global 'app'.loop is a _thread.lock",
    "def f(x=lock): return x": "its default value 0 is a _thread.lock",
    "class A:\n    lock = lock\ndef f(): return A": "its global 'A'.lock is a _thread.lock",
}


@pytest.mark.parametrize(("source", "path"), UNSHIPPABLE.items())
def test_what_cannot_be_shipped_is_named(source: str, path: str) -> None:
    shipper = FunctionShipper(define(f"import threading\nlock = threading.Lock()\n{source}")["f"], "fetch", SIGNER)
    with pytest.raises(SerializationError) as caught:
        shipper.ship()
    assert f"the function 'fetch', {path}" in str(caught.value)
    assert "make it inside the task" in str(caught.value)
    assert caught.value.__cause__ is not None


def test_it_can_be_shipped_once_the_reason_is_gone() -> None:
    space = define("import threading\nlock = threading.Lock()\ndef f(): return lock")
    shipper = FunctionShipper(space["f"], "f", SIGNER)
    with pytest.raises(SerializationError):
        shipper.ship()
    space["lock"] = 3
    assert load(shipper.ship())() == 3


def test_a_large_global_is_warned_about_once() -> None:
    space = define("rows = ['x' * 50 + str(n) for n in range(4000)]\nsmall = [1]\ndef f(): return rows, small")
    shipper = FunctionShipper(space["f"], "f", SIGNER)
    with pytest.warns(
        LargePayloadWarning, match=r"the function 'f' takes 2\d\d kB, most of it in .*its global 'rows' \(list"
    ):
        shipper.ship()
    space["small"].append(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shipper.ship()


def test_a_function_that_fits_is_not_warned_about() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FunctionShipper(define("rows = 'x' * 90_000\ndef f(): return rows")["f"], "f", SIGNER).ship()


# --- trust and loading -----------------------------------------------------------------------------------------------


def test_foreign_code_is_not_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "exploded"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(mark),)

    def harmless() -> None:
        """Does nothing."""

    raw = bytes(sys.version_info[:2]) + pickle.dumps((Bomb(), []))
    for forged in (raw, bytes(32) + raw, Signer("the secret of a stranger").sign(raw, "function f"), SIGNER.sign(raw)):
        with pytest.raises(SignatureError, match="the function 'f'"):
            load_shipped(forged, SIGNER, "f")
    shipped = FunctionShipper(harmless, "f", SIGNER).ship()
    with pytest.raises(SignatureError, match="the function 'g'"):
        load_shipped(shipped.code, SIGNER, "g")
    with pytest.raises(SignatureError):
        load_shipped(shipped.code[:-1] + b"!", SIGNER, "f")
    assert not mark.exists()
    load_shipped(SIGNER.sign(raw, "function f"), SIGNER, "f")
    assert mark.exists(), "the bomb is a dud, and the test shows nothing"


def test_code_of_another_python_is_refused() -> None:
    shipped = FunctionShipper(define("def f(): return 1")["f"], "f", SIGNER).ship()
    payload = SIGNER.open(shipped.code, "it", "function f")
    other = SIGNER.sign(bytes((3, 99)) + payload[2:], "function f")
    with pytest.raises(SerializationError, match=r"compiled by Python 3\.99"):
        load_shipped(other, SIGNER, "f")


def test_a_module_that_the_worker_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_here.py").write_text("value = 3")
    monkeypatch.syspath_prepend(tmp_path)
    shipped = FunctionShipper(define("import only_here\ndef f(): return only_here.value")["f"], "f", SIGNER).ship()
    monkeypatch.setitem(sys.modules, "only_here", None)
    with pytest.raises(SerializationError, match="only_here"):
        load(shipped)


def compiled(source: str, filename: str) -> dict[str, Any]:
    """Run a cell as IPython does: its lines are where `inspect` looks for them."""
    space: dict[str, Any] = {"__name__": "__main__"}
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), space)
    return space


def test_functions_of_one_cell_keep_their_lines_apart() -> None:
    cell = "def f():\n    return 'the f'\n\n\ndef g():\n    raise ValueError('the g')\n"
    space = compiled(cell, "<cell of a test>")
    shipped = [FunctionShipper(space[name], name, SIGNER).ship() for name in ("g", "f")]
    del linecache.cache["<cell of a test>"]
    g, f = map(load, shipped)
    assert inspect.getsource(f) == "def f():\n    return 'the f'\n"
    assert inspect.getsource(g) == "def g():\n    raise ValueError('the g')\n"
    with pytest.raises(ValueError, match="the g") as caught:
        g()
    assert "raise ValueError('the g')" in describe_error(caught.value).traceback


def test_lines_that_are_here_are_left_alone() -> None:
    space = compiled("def f(): return 1\n# more\n", "<another cell of a test>")
    shipped = FunctionShipper(space["f"], "f", SIGNER).ship()
    entry = linecache.cache["<another cell of a test>"]
    load(shipped)
    assert linecache.cache["<another cell of a test>"] is entry


def test_a_function_without_source() -> None:
    shipped = FunctionShipper(define("def f(): return 1")["f"], "f", SIGNER).ship()
    assert shipped.source == ""
    assert load(shipped)() == 1


def test_what_is_loaded_shares_nothing_with_what_was_shipped() -> None:
    space = define("n = [1]\ndef f():\n    n.append(2)\n    return n")
    func = load(FunctionShipper(space["f"], "f", SIGNER).ship())
    assert func() == [1, 2]
    assert space["n"] == [1]


def test_threads_may_ship_at_once() -> None:
    space = define("n = [0]\ndef f(): return n[0]")
    shipper = FunctionShipper(space["f"], "f", SIGNER)
    wrong: list[Any] = []

    def work() -> None:
        for _ in range(200):
            try:
                if not 0 <= load(shipper.ship())() <= 200:
                    wrong.append("value")
            except Exception as error:  # noqa: BLE001 -- any is a failure
                wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(200):
        space["n"][0] = number
    for thread in threads:
        thread.join()
    assert wrong == []
    assert load(shipper.ship())() == 199


def test_async_functions_stay_async() -> None:
    func = load(FunctionShipper(define("async def f(x): return x + 1")["f"], "f", SIGNER).ship())
    assert inspect.iscoroutinefunction(func)
    assert asyncio.run(func(1)) == 2


# --- what has to be shipped ------------------------------------------------------------------------------------------

MODULE = """
import functools
from omniq.shipping import must_ship

class Task:
    def __init__(self, func):
        functools.update_wrapper(self, func)
        self.func = func

seen = []

def register(func):
    seen.append(must_ship(func))
    return Task(func)

def plain(): pass

@register
def task(): pass

original = task.func

@functools.wraps(plain)
def wraps(): pass

def make():
    def inner(): pass
    return inner

closure = make()
anonymous = lambda: None
partial = functools.partial(plain)

def replaced(): pass
old, replaced = replaced, None

class Service:
    def method(self): pass
    def __call__(self): pass
    @staticmethod
    def static(): pass

service = Service()
method = service.method
static = Service.static
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    (tmp_path / "module_of_tasks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "module_of_tasks", raising=False)
    import module_of_tasks  # type: ignore[import-not-found]

    return module_of_tasks  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("plain", False), ("original", False), ("static", False), ("closure", True), ("anonymous", True),
     ("partial", True), ("old", True), ("service", True), ("method", True), ("Service", False)],
)  # fmt: skip
def test_what_must_be_shipped(module: types.ModuleType, name: str, expected: bool) -> None:
    assert must_ship(getattr(module, name)) is expected


def test_a_decorator_may_ask_while_the_module_is_imported(module: types.ModuleType) -> None:
    assert module.seen == [False]


def test_functions_of_cells_must_be_shipped() -> None:
    space = define(
        "import functools\ndef f(): pass\npartial = functools.partial(print)\nclass C:\n    def m(self): pass"
    )
    assert must_ship(space["f"])
    assert must_ship(space["partial"])
    assert must_ship(space["C"].m)
    assert must_ship(space["C"])
    assert not must_ship(len)
    assert not must_ship(textwrap.dedent)
    assert must_ship(functools.partial(len))


def test_a_module_without_a_file_cannot_be_imported_elsewhere() -> None:
    made = types.ModuleType("made_by_hand")
    sys.modules["made_by_hand"] = made
    try:
        exec("def f(): return 1", made.__dict__)
        assert must_ship(made.f)
    finally:
        del sys.modules["made_by_hand"]
