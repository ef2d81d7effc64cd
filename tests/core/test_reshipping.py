"""When a function is pickled again: as soon as something that it refers to changed, and only then."""

import textwrap
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from omniq.errors import SerializationError
from omniq.shipping import FunctionShipper, ShippedFunction, load_shipped
from omniq.signing import Signer

SIGNER = Signer("a secret of enough bytes")


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


def test_the_cost_of_no_change(count_lines: Any) -> None:
    """Far above what it takes, so that only a mistake of kind fails."""
    shipper = FunctionShipper(define("n = 1\ndef g(): return n\ndef f(): return g()")["f"], "f", SIGNER)
    shipper.ship()
    with count_lines() as counter:
        shipper.ship()
    assert 0 < counter.count < 200


class Task:
    """Stands for a task that a function refers to: it travels without its app."""

    _omniq_parts = ("func", "options")

    def __init__(self, func: Callable[..., Any]) -> None:
        self.app, self.func, self.options = threading.Lock(), func, {"queue": "io"}
        self.plan: object = None

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _arrived, (self.func, self.options)


def _arrived(func: Callable[..., Any], options: dict[str, Any]) -> Any:
    return func(), options


def test_another_task_does_not_drag_its_app_along(monkeypatch: pytest.MonkeyPatch) -> None:
    space = define("n = 1\ndef g(): return n\ndef f(): return task")
    task = space["task"] = Task(space["g"])
    shipper = FunctionShipper(space["f"], "f", SIGNER)
    first = shipper.ship()
    assert load(first)() == (1, {"queue": "io"})
    with monkeypatch.context() as patch:
        patch.setattr("omniq.shipping.pickle_bytes", None)
        task.plan = object()
        assert shipper.ship() is first
    space["n"] = 2
    assert load(shipper.ship())() == (2, {"queue": "io"})
    task.options["queue"] = "cpu"
    assert load(shipper.ship())() == (2, {"queue": "cpu"})
    task.func = lambda: 3
    assert load(shipper.ship())() == (3, {"queue": "cpu"})


def test_what_cannot_travel_in_another_task_is_named() -> None:
    space = define("import threading\nlock = threading.Lock()\ndef g(): return lock\ndef f(): return task")
    space["task"] = Task(space["g"])
    with pytest.raises(SerializationError, match=r"its global 'task'\.func, its global 'lock' is a _thread.lock"):
        FunctionShipper(space["f"], "f", SIGNER).ship()
