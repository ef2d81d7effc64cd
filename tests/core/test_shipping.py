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
import time
import types
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
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


# --- in one process: when it is pickled again ------------------------------------------------------------------------


def define(source: str) -> dict[str, Any]:
    """Run a cell: the namespace, whose functions are nowhere to be imported from."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(textwrap.dedent(source), space)
    return space


def load(shipped: ShippedFunction) -> Callable[..., Any]:
    return load_shipped(shipped.code, SIGNER, shipped.name)


def call_elsewhere(shipped: ShippedFunction) -> Any:
    """What it gives in a process that has none of its classes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cloudpickle.cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_ID", weakref.WeakValueDictionary())
        patch.setattr(cloudpickle.cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_CLASS", weakref.WeakKeyDictionary())
        return load(shipped)()


# Each a cell that defines f, and what is run after f was shipped.
CHANGES_AS_TEXT = """
## a global
n = 1
def f(): return n
# then
n = 2

## a global of equal value and other type
n = 1
def f(): return type(n).__name__
# then
n = True

## a list
n = [1]
def f(): return n
# then
n.append(2)

## an item of a list
n = [1]
def f(): return n
# then
n[0] = 5

## a nested dict
n = {'a': [{'b': 1}]}
def f(): return n
# then
n['a'][0]['b'] = 2

## a key
n = {'a': 1}
def f(): return n
# then
n['b'] = n.pop('a')

## a set
n = {1}
def f(): return n
# then
n.add(2)

## an element of a set
n = {1}
def f(): return n
# then
n.clear(); n.add(2)

## a bytearray
n = bytearray(b'a')
def f(): return n
# then
n[0] = 98

## a list in a tuple
n = ([1],)
def f(): return n
# then
n[0].append(2)

## a closure variable
def make():
    n = 1
    def f(): return n
    def bump():
        nonlocal n
        n += 1
    return f, bump
f, bump = make()
# then
bump()

## a list in a closure
def make(n):
    return lambda: n
n = [1]
f = make(n)
# then
n.append(2)

## a default
def f(n=[]): return n
# then
f.__defaults__[0].append(1)

## the defaults
def f(n=1): return n
# then
f.__defaults__ = (2,)

## a keyword default
def f(*, n=1): return n
# then
f.__kwdefaults__['n'] = 2

## the keyword defaults
def f(*, n=1): return n
# then
f.__kwdefaults__ = {"n": 2}

## the code
def f(): return 1
# then
f.__code__ = (lambda: 2).__code__

## a helper
def g(): return 1
def f(): return g()
# then
def g(): return 2

## the code of a helper
def g(): return 1
def f(): return g()
# then
g.__code__ = (lambda: 2).__code__

## a helper's global
n = 1
def h(): return n
def g(): return h()
def f(): return g()
# then
n = 2

## a helper's list
n = [1]
def g(): return n
def f(): return g()
# then
n.append(2)

## a class attribute
class A:
    n = 1
def f(): return A.n
# then
A.n = 2

## a new class attribute
class A: pass
def f(): return getattr(A, 'n', 1)
# then
A.n = 2

## a list of a class
class A:
    n = [1]
def f(): return A.n
# then
A.n.append(2)

## a method
class A:
    def m(self): return 1
def f(): return A().m()
# then
A.m = lambda self: 2

## a method's global
n = 1
class A:
    def m(self): return n
def f(): return A().m()
# then
n = 2

## a static method's global
n = 1
class A:
    @staticmethod
    def m(): return n
def f(): return A.m()
# then
n = 2

## a property's global
n = 1
class A:
    @property
    def m(self): return n
def f(): return A().m
# then
n = 2

## a base class
class B:
    n = 1
class A(B): pass
def f(): return A.n
# then
B.n = 2

## an instance
class A: pass
a = A(); a.n = 1
def f(): return a.n
# then
a.n = 2

## an instance in a list
class A: pass
a = A(); a.n = 1
l = [a]
def f(): return l[0].n
# then
a.n = 2

## a bound method's object
class A:
    def m(self): return self.n
a = A(); a.n = 1
m = a.m
def f(): return m()
# then
a.n = 2

## a bound method of a list
n = [1]
m = n.copy
def f(): return m()
# then
n.append(2)

## a function's attribute
def g(): return g.n
g.n = 1
def f(): return g()
# then
g.n = 2

## a function's first attribute
def g(): return getattr(g, 'n', 1)
def f(): return g()
# then
g.n = 2

## a partial's keyword
import functools
def g(n): return n
p = functools.partial(g, n=1)
def f(): return p()
# then
p.keywords['n'] = 2

## what a cache wraps
import functools
n = 1
def g(): return n
w = functools.lru_cache(g)
def f(): return w.__wrapped__()
# then
n = 2

## a cached property
import functools
n = 1
class A:
    @functools.cached_property
    def m(self): return n
def f(): return A().m
# then
n = 2

## a builtin's name
def f(): return len([1])
# then
def len(_): return 9

## a global that was missing
def f():
    try: return n
    except NameError: return 0
# then
n = 2

## a global that goes
n = 1
def f():
    try: return n
    except NameError: return 0
# then
del n

## an array
import numpy
n = numpy.zeros(2)
def f(): return n.tolist()
# then
n[0] = 1

## an enum
import enum
class E(enum.Enum):
    A = 1
    def m(self): return k
k = 1
e = E.A
def f(): return e.m()
# then
k = 2

## a dataclass's method
import dataclasses
@dataclasses.dataclass
class A:
    x: int = 1
    def m(self): return k
k = 1
def f(): return A().m()
# then
k = 2

## a named tuple's method
import typing
class T(typing.NamedTuple):
    a: int
    def m(self): return n
n = 1
def f(): return T(1).m()
# then
n = 2

## a name used only inside a nested function
n = 1
def f():
    def g(): return n
    return g()
# then
n = 2

## a big nest
n = [[[i] for i in range(100)] for _ in range(50)]
def f(): return n[0][0] + n[49][99]
# then
n[0][0][0] = -1

## the other end of a big nest
n = [[[i] for i in range(100)] for _ in range(50)]
def f(): return n[0][0] + n[49][99]
# then
n[49][99][0] = -1

## a big list
n = list(range(5000))
def f(): return n[4000]
# then
n[4000] = -1
"""


def _changes() -> Iterator[tuple[str, tuple[str, str]]]:
    for section in CHANGES_AS_TEXT.split("## ")[1:]:
        title, cell = section.split("\n", 1)
        source, change = cell.split("# then\n")
        yield title, (source, change)


CHANGES = dict(_changes())


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_shipped(what: str) -> None:
    source, change = CHANGES[what]
    space = define(source)
    shipper = FunctionShipper(space["f"], "f", SIGNER)
    before = shipper.ship()
    assert shipper.ship() is before
    exec(change, space)
    after = shipper.ship()
    assert after.digest != before.digest
    assert call_elsewhere(before) != call_elsewhere(after)
    assert call_elsewhere(after) == space["f"]()
    assert shipper.ship() is after


# What can change without being noticed is pickled each time.
VOLATILE = {"an instance", "an instance in a list", "a bytearray", "an array", "a bound method's object"}
VOLATILE |= {"a big list", "a big nest", "the other end of a big nest"}


@pytest.mark.parametrize("what", sorted(CHANGES.keys() - VOLATILE))
def test_what_did_not_change_is_not_pickled_again(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shipper = FunctionShipper(define(CHANGES[what][0])["f"], "f", SIGNER)
    first = shipper.ship()
    monkeypatch.setattr("omniq.shipping.pickle_bytes", None)
    assert shipper.ship() is first


@pytest.mark.parametrize("what", CHANGES)
def test_the_digest_is_stable(what: str) -> None:
    space = define(CHANGES[what][0])
    digests = {FunctionShipper(space["f"], "f", SIGNER).ship().digest for _ in range(5)}
    assert len(digests) == 1


def test_a_submodule_imported_later_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "late_package").mkdir()
    (tmp_path / "late_package" / "__init__.py").touch()
    (tmp_path / "late_package" / "part.py").write_text("value = 3")
    monkeypatch.syspath_prepend(tmp_path)
    space = define("import late_package\ndef f(): return late_package.part.value")
    shipper = FunctionShipper(space["f"], "f", SIGNER)
    before = shipper.ship()
    exec("import late_package.part", space)
    after = shipper.ship()
    assert b"late_package.part" in after.code
    assert b"late_package.part" not in before.code


def test_the_cost_of_no_change() -> None:
    """Far above what it takes, so that only a mistake of kind fails."""
    shipper = FunctionShipper(define("n = 1\ndef g(): return n\ndef f(): return g()")["f"], "f", SIGNER)
    shipper.ship()
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(200):
            shipper.ship()
        best = min(best, (time.perf_counter() - start) / 200)
    assert best < 20e-6


class ByName:
    """Stands for another task: it travels as its name."""

    _omniq_by_name = True

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return str, ("stub",)


def test_another_task_does_not_drag_its_app_along(monkeypatch: pytest.MonkeyPatch) -> None:
    space = define("def f(): return other")
    space["other"] = ByName()
    shipper = FunctionShipper(space["f"], "f", SIGNER)
    first = shipper.ship()
    assert load(first)() == "stub"
    monkeypatch.setattr("omniq.shipping.pickle_bytes", None)
    assert shipper.ship() is first


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
