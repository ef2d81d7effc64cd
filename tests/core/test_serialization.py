"""What comes out has the type and the value of what went in; what can't is refused; what others pickled stays shut."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import io
import math
import os
import pickle
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omniq.errors import LargePayloadWarning, SerializationError, SignatureError
from omniq.serialization import Serializer, describe_error, is_plain
from omniq.signing import Signer
from polars.testing import assert_frame_equal, assert_series_equal

SERIALIZER = Serializer(Signer("a secret of enough bytes"))
STRANGER = Serializer(Signer("another secret, of a stranger"))


def round_trip(value: Any) -> Any:
    return SERIALIZER.loads(SERIALIZER.dumps(value))


def same(left: Any, right: Any) -> bool:
    """Equal in type and value all the way down; NaN equals itself, 0.0 is not -0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return repr(left) == repr(right)
    if isinstance(left, dict):
        return len(left) == len(right) and all(map(same, left.items(), right.items()))
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, set | frozenset):
        return len(left) == len(right) and all(any(same(item, other) for other in right) for item in left)
    if isinstance(left, dt.datetime | dt.time):
        return (
            left.isoformat() == right.isoformat()
            and left.fold == right.fold
            and repr(left.tzinfo) == repr(right.tzinfo)
        )
    if isinstance(left, complex):
        return repr(left) == repr(right)
    return bool(left == right)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: int
    items: list[Any] = dataclasses.field(default_factory=list)


class Pair(NamedTuple):
    a: int
    b: object


class Message(msgspec.Struct):
    text: str


class Name(str):
    __slots__ = ()


class Slotted:
    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = threading.Lock()


PLAIN_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary(max_size=50)
    | st.datetimes(timezones=st.just(dt.UTC)).map(lambda moment: moment.replace(fold=0))
)
PLAIN = st.recursive(
    PLAIN_LEAVES,
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers(-(2**63), 2**64 - 1) | st.booleans(), inner)
    ),
    max_leaves=20,
)
ZONES = (
    st.none()
    | st.sampled_from([dt.UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("UTC"), ZoneInfo("America/New_York")])
    | st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)).map(dt.timezone)
    | st.just(dt.timezone(dt.timedelta(hours=2), "a name"))
)
MOMENTS = st.builds(
    lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold), st.datetimes(), ZONES, st.integers(0, 1)
)
SCALARS = (
    PLAIN_LEAVES
    | st.integers()
    | st.integers(2**64, 2**200)
    | st.integers(-(2**200), -(2**63) - 1)
    | st.text(st.characters(categories=["Cs", "Lu"]))
    | MOMENTS
    | st.dates()
    | st.builds(lambda value, zone: value.replace(tzinfo=zone), st.times(), ZONES)
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.complex_numbers(allow_nan=False)
    | st.sampled_from([Path("a/b"), PurePosixPath("/x"), Colour.RED, Level.HIGH, Name("n"), range(3), ...])
)
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4), max_leaves=6)
ANYTHING = st.recursive(
    SCALARS | HASHABLE | st.binary(max_size=20).map(bytearray) | st.just(slice(1, 2)),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.sets(HASHABLE, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.builds(Pair, st.integers(), inner)
        | st.dictionaries(st.text(), inner, max_size=3).map(collections.OrderedDict)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_plain_values_are_bare_msgpack(value: Any) -> None:
    assert is_plain(value)
    data = SERIALIZER.dumps(value)
    assert data == msgspec.msgpack.encode(value)
    assert same(SERIALIZER.loads(data), value)


@settings(max_examples=200)
@given(ANYTHING)
def test_everything_comes_back_as_it_was(value: Any) -> None:
    assert same(round_trip(value), value)


@settings(max_examples=200)
@given(
    st.lists(SCALARS | st.integers() | st.just("\ud800") | ANYTHING, max_size=3), st.dictionaries(st.text(), ANYTHING)
)
def test_a_call_is_the_list_of_its_arguments(args: list[Any], kwargs: dict[str, Any]) -> None:
    assert same(SERIALIZER.loads(SERIALIZER.dumps_call(args, kwargs, "them")), [args, kwargs])
    assert SERIALIZER.dumps_call(tuple(args), {}, "them") == SERIALIZER.dumps([args, {}])


@pytest.mark.parametrize(
    "args", [range(3), bytearray(b"ab"), collections.deque([1, "x"]), collections.UserList([None])]
)
def test_a_call_takes_its_arguments_from_any_sequence(args: Any) -> None:
    assert same(SERIALIZER.loads(SERIALIZER.dumps_call(args, {}, "them")), [list(args), {}])


def test_a_call_with_a_large_argument_is_warned_of() -> None:
    with pytest.warns(LargePayloadWarning, match="them"):
        SERIALIZER.dumps_call(("x" * 2_000_000,), {}, "them")


@pytest.mark.parametrize(
    "value",
    [
        Point(1, [Point(2)]),
        Message("hello"),
        collections.Counter("abca"),
        collections.deque([1, 2], maxlen=3),
        collections.defaultdict(list, {"a": [1]}),
        [Point(1), (Point(2), {Colour.RED: {1, 2}})],
        {"frame": Point(1), "sets": [{1}, {2}], ("a", 1): None},
        dt.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC, fold=1),
        decimal.Decimal("1.500"),
        {1: "int", 1.5: "float", None: "none", b"k": "bytes"},
        ValueError,
        math.floor,
        dict[str, int],
    ],
)
def test_other_types(value: Any) -> None:
    assert same(round_trip(value), value)


def test_decimals_that_equal_nothing() -> None:
    assert round_trip(decimal.Decimal("NaN")).is_nan()
    assert str(round_trip(decimal.Decimal("1E+5"))) == "1E+5"
    assert str(round_trip(decimal.Decimal("-0.00"))) == "-0.00"


def test_callables_and_exceptions_travel() -> None:
    base = 40
    assert round_trip(lambda x: x + base)(2) == 42
    error = round_trip(ValueError("bad", 3))
    assert type(error) is ValueError
    assert error.args == ("bad", 3)


def test_a_value_that_contains_itself() -> None:
    value: list[Any] = [1]
    value.append({"self": value})
    back = round_trip(value)
    assert back[1]["self"] is back


@pytest.mark.parametrize("make", [lambda inner: [inner], lambda inner: {"k": inner}, lambda inner: (inner,)])
def test_deep_nesting(make: Callable[[Any], Any]) -> None:
    value: Any = "core"
    for _ in range(150):
        value = make(value)
    assert round_trip(value) == value


def test_nesting_beyond_reason_is_refused() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(SerializationError):
        SERIALIZER.dumps(value)
    while value:  # freed from outside in, or freeing would recurse as deep
        value = value.pop()


def test_pickled_parts_share_one_pickle() -> None:
    shared = Point(1)
    value = {"a": shared, "b": [shared, (shared,)]}
    back = round_trip(value)
    assert back["a"] is back["b"][0] is back["b"][1][0]
    hundred = SERIALIZER.dumps([Point(n) for n in range(100)])
    assert len(hundred) < 20 * len(SERIALIZER.dumps([Point(0)]))


# --- frames and arrays -----------------------------------------------------------------------------------------------

MOMENT = dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC)
FRAME = pl.DataFrame(
    {
        "int": pl.Series([1, None, 3], dtype=pl.Int16),
        "float": [1.5, math.nan, None],
        "text": ["a", None, "ü"],
        "bytes": [b"a", b"", None],
        "moment": pl.Series([MOMENT, None, MOMENT], dtype=pl.Datetime("ns", "Europe/Berlin")),
        "duration": [dt.timedelta(1), None, dt.timedelta(0)],
        "time": [dt.time(1), None, dt.time(2)],
        "list": [[1, 2], [], None],
        "array": pl.Series([[1, 2], [3, 4], None], dtype=pl.Array(pl.Int8, 2)),
        "struct": [{"a": 1, "b": "x"}, {"a": None, "b": None}, None],
        "category": pl.Series(["x", "y", "x"], dtype=pl.Categorical),
        "enum": pl.Series(["x", "y", "x"], dtype=pl.Enum(["y", "x"])),
        "decimal": pl.Series([decimal.Decimal("1.10"), None, decimal.Decimal(2)], dtype=pl.Decimal(20, 2)),
        "null": [None, None, None],
    }
)


@pytest.mark.parametrize("frame", [FRAME, FRAME.head(0), FRAME.slice(1, 1), pl.DataFrame(), pl.DataFrame(height=3)])
def test_polars_frames(frame: pl.DataFrame) -> None:
    back = round_trip({"frame": frame})["frame"]
    assert back.schema == frame.schema
    assert_frame_equal(back, frame, categorical_as_str=False)


def test_a_frame_of_objects_is_refused() -> None:
    with pytest.raises(SerializationError, match=r"value\['frame'\].*Object"):
        SERIALIZER.dumps({"frame": pl.DataFrame({"o": [{1}, None]}, {"o": pl.Object})})


def test_polars_series() -> None:
    for name in FRAME.columns:
        assert_series_equal(round_trip(FRAME[name]), FRAME[name])
    assert round_trip(pl.Series([1, 2])).name == ""


def test_a_lazy_frame() -> None:
    lazy = FRAME.lazy().filter(pl.col("int") > 1)
    assert_frame_equal(round_trip(lazy).collect(), lazy.collect())


def test_frames_travel_without_a_pickle() -> None:
    """A stranger reads them: nothing in them had to be signed."""
    for value in (FRAME, FRAME["int"], np.arange(3), np.float32(1.5), pd.DataFrame({"a": [1]}), pa.table({"a": [1]})):
        assert type(STRANGER.loads(SERIALIZER.dumps([value]))[0]) is type(value)


ARRAYS = [
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(24, dtype=np.int8).reshape(2, 3, 4)[:, ::2],
    np.array(5.5),
    np.zeros((0, 3), dtype=np.float32),
    np.array([1.5, math.nan, math.inf, -0.0]),
    np.array([True, False]),
    np.array([1 + 2j, -0.0j], dtype=np.complex64),
    np.array([1.5], dtype=np.float16),
    np.array([1, 2], dtype=">i4"),
    np.array([2**63], dtype=np.uint64),
    np.array(["2026-01-01", "NaT"], dtype="datetime64[D]"),
    np.array([1, "NaT"], dtype="timedelta64[ms]"),
    np.array(["a", "bü"]),
    np.array([b"a", b"bc"]),
    np.array([""]),
    np.array([(1, 2.5)], dtype=[("a", np.int8), ("b", np.float64)]),
    np.array([1, "a", None], dtype=object),
    np.array([1.25], dtype=np.longdouble),
    np.ma.masked_array([1, 2], mask=[True, False]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_numpy_arrays(array: Any) -> None:
    back = round_trip((array,))[0]
    assert type(back) is type(array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.flags.f_contiguous or not array.flags.f_contiguous
    assert back.flags.c_contiguous or not array.flags.c_contiguous
    assert back.tobytes() == array.tobytes() if array.dtype != object else back.tolist() == array.tolist()
    assert back.flags.writeable


@pytest.mark.parametrize(
    "scalar",
    [np.int64(-3), np.float64(1.5), np.bool_(True), np.str_("ü"), np.bytes_(b"x"), np.complex128(1j), np.float16(0.5),
     np.datetime64("2026-01-01T01", "h"), np.timedelta64(3, "D"), np.longdouble(1.25), np.void(b"ab")],
    ids=lambda scalar: type(scalar).__name__,
)  # fmt: skip
def test_numpy_scalars(scalar: Any) -> None:
    back = round_trip(scalar)
    assert type(back) is type(scalar)
    assert back.dtype == scalar.dtype
    assert back == scalar


PANDAS = {
    "plain": pd.DataFrame({"a": [1, 2], "b": [1.5, math.nan], "c": ["x", None], "d": [True, False]}),
    "dates": pd.DataFrame(
        {"a": pd.date_range("2026-01-01", periods=2, tz="Europe/Berlin"), "b": pd.to_timedelta([1, 2])}
    ),
    "naive": pd.DataFrame({"a": pd.date_range("2026-01-01", periods=2, unit="s")}),
    "index": pd.DataFrame({"a": [1, 2]}, index=["x", "y"]),
    "range": pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(4, 8, 2, name="n")),
    "dated": pd.DataFrame({"a": [1, 2]}, index=pd.date_range("2026-01-01", periods=2, freq="D")),
    "multi": pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])),
    "numbered": pd.DataFrame([[1, 2]]),
    "named": pd.DataFrame([[1, 2]], columns=pd.Index(["a", "b"], name="letters")),
    "object columns": pd.DataFrame([[1, 2]], columns=pd.Index(["a", "b"], dtype=object)),
    "twice": pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "objects": pd.DataFrame({"a": [[1], {"x": 1}]}),
    "mixed": pd.DataFrame({"a": pd.Series([1, "x", None], dtype=object)}),
    "category": pd.DataFrame({"a": pd.Categorical(["x", "y"], categories=["y", "x"], ordered=True)}),
    "nullable": pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": pd.array([True, None], "boolean")}),
    "small": pd.DataFrame({"a": pd.array([1, None], "Int8"), "b": np.array([1, 2], dtype=np.float16)}),
    "period": pd.DataFrame({"a": pd.period_range("2026-01", periods=2, freq="M")}),
    "interval": pd.DataFrame({"a": pd.interval_range(0, 2)}),
    "sparse": pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}),
    "arrow": pd.DataFrame({"a": pd.array(["x", None], pd.ArrowDtype(pa.string()))}),
    "empty": pd.DataFrame(),
    "no rows": pd.DataFrame({"a": np.array([], dtype=np.int8)}),
    "no columns": pd.DataFrame(index=[1, 2]),
}


@pytest.mark.parametrize("name", PANDAS)
def test_pandas_frames(name: str) -> None:
    frame = PANDAS[name]
    back = round_trip([frame])[0]
    pd.testing.assert_frame_equal(back, frame, check_freq=True, check_column_type="exact", check_index_type="exact")
    assert type(back.index) is type(frame.index)
    assert type(back.columns) is type(frame.columns)


def test_pandas_attributes_are_kept() -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["unit"] = ("m", 1)
    assert round_trip(frame).attrs == {"unit": ("m", 1)}


@pytest.mark.parametrize("name", [None, "a", "", 3, ("a", 1)])
def test_pandas_series(name: Any) -> None:
    series = pd.Series([1.5, 2.5], name=name)
    pd.testing.assert_series_equal(round_trip(series), series)
    assert type(round_trip(series).name) is type(name)


def test_arrow_tables() -> None:
    table = pa.table({"a": [1, None], "b": [["x"], None]}, metadata={"k": "v"})
    assert round_trip(table).equals(table, check_metadata=True)
    batch = table.to_batches()[0]
    assert round_trip(batch).equals(batch)
    assert round_trip(table.schema).equals(table.schema)


# --- refusals --------------------------------------------------------------------------------------------------------


def generator() -> Any:
    yield 1


async def coroutine() -> None:
    """Never awaited on purpose."""


def unfinished() -> Any:
    waiting = coroutine()
    waiting.close()
    return waiting


@pytest.mark.parametrize(
    ("make", "path", "advice"),
    [
        (lambda: [1, {"k": [threading.Lock()]}], "args[1]['k'][0] is a _thread.lock", "make it inside the task"),
        (lambda: [(generator(),)], "args[0][0] is a generator", "pass list(...) of it"),
        (lambda: [Point(1, [{}, {"x": generator()}])], "args[0].items[1]['x'] is a generator", "pass list(...) of it"),
        (lambda: [Slotted()], "args[0].lock is a _thread.lock", "make it inside the task"),
        (lambda: [unfinished()], "args[0] is a coroutine", "await it first"),
        (lambda: [memoryview(b"x")], "args[0] is a memoryview", "pass bytes(...) of it"),
        (lambda: [io.TextIOWrapper(io.BytesIO())], "args[0] is a _io.TextIOWrapper", "open it inside the task"),
        (lambda: [{(1, "a"): threading.Lock()}], "args[0][(1, 'a')] is a _thread.lock", "make it inside the task"),
        (lambda: [map(str, generator())], "args[0] is a map", "pass list(...) of it"),
        (lambda: [sys._getframe()], "args[0] is a frame", "pass plain values instead"),
    ],
    ids=range(10),
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_cannot_travel_is_named(make: Callable[[], Any], path: str, advice: str) -> None:
    with pytest.raises(SerializationError) as caught:
        SERIALIZER.dumps(make(), "args")
    assert path in str(caught.value)
    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sockets() -> None:
    with socket.socket() as connection, pytest.raises(SerializationError, match="socket"):
        SERIALIZER.dumps({"s": connection})


def test_a_failing_reduce_is_chained() -> None:
    class Broken:
        def __reduce__(self) -> str:
            raise RuntimeError("no way")

    with pytest.raises(SerializationError, match=r"value\['x'\] is a .*Broken.*no way") as caught:
        SERIALIZER.dumps({"x": Broken()})
    assert isinstance(caught.value.__cause__, RuntimeError)


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_foreign_pickle_stays_shut(tmp_path: Path) -> None:
    mark = tmp_path / "exploded"
    bomb = Bomb(mark)
    raw = pickle.dumps([bomb])
    body = msgspec.msgpack.encode(msgspec.msgpack.Ext(5, b"\0"))
    forgeries = [
        STRANGER.dumps(bomb),
        STRANGER.dumps([1, {"deep": bomb}]),
        b"\xc1" + msgspec.msgpack.encode([body, raw]),
        b"\xc1" + msgspec.msgpack.encode([body, bytes(32) + bytes(sys.version_info[:2]) + raw]),
        b"\xc1" + msgspec.msgpack.encode([body, b""]),
        Signer("a secret of enough bytes").sign(raw),
        raw,
    ]
    for number, forged in enumerate(forgeries):
        with pytest.raises((SignatureError, SerializationError)) as caught:
            SERIALIZER.loads(forged, "args of task 7")
        assert "args of task 7" in str(caught.value), number
        assert not mark.exists(), number
    SERIALIZER.loads(SERIALIZER.dumps(bomb))
    assert mark.exists(), "the bomb is a dud, and the test shows nothing"


def test_the_signature_error_says_what_to_do() -> None:
    with pytest.raises(SignatureError, match="OMNIQ_SECRET"):
        SERIALIZER.loads(STRANGER.dumps(Point(1)))


def test_a_function_is_no_value() -> None:
    """What was signed as a function can't be passed off as an argument."""
    signer = Signer("a secret of enough bytes")
    sealed = signer.sign(bytes(sys.version_info[:2]) + pickle.dumps([1]), "function f")
    body = msgspec.msgpack.encode(msgspec.msgpack.Ext(5, b"\0"))
    with pytest.raises(SignatureError):
        SERIALIZER.loads(b"\xc1" + msgspec.msgpack.encode([body, sealed]))


@given(st.binary(max_size=60))
def test_damaged_bytes_are_one_clear_error(data: bytes) -> None:
    try:
        msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        with pytest.raises((SerializationError, SignatureError), match="result of task 3"):
            SERIALIZER.loads(data, "result of task 3")


@settings(max_examples=200)
@given(st.sampled_from([[1, {"a": (2, 3)}], FRAME, np.arange(5), dt.date(2026, 1, 1), Point(1)]), st.data())
def test_truncated_bytes_are_one_clear_error(value: Any, data: st.DataObject) -> None:
    whole = SERIALIZER.dumps(value)
    with pytest.raises((SerializationError, SignatureError)):
        SERIALIZER.loads(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_an_extension_of_a_newer_version_is_named() -> None:
    with pytest.raises(SerializationError, match=r"args of task 1.*unknown extension 99.*newer version"):
        SERIALIZER.loads(msgspec.msgpack.encode([msgspec.msgpack.Ext(99, b"")]), "args of task 1")


def test_a_missing_module_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = SERIALIZER.dumps(collections.Counter("a"))
    monkeypatch.setitem(sys.modules, "collections", None)
    with pytest.raises(SerializationError, match="collections"):
        SERIALIZER.loads(data)


# --- size and cost ---------------------------------------------------------------------------------------------------


def test_large_values_are_warned_about_and_the_culprit_named() -> None:
    value = [1, {"url": "x", "rows": [{"cell": "x" * 1_200_000}, 2]}, "y" * 100_000]
    with pytest.warns(
        LargePayloadWarning, match=r"args takes 1,300 kB, most of it in args\[1\]\['rows'\]\[0\]\['cell'\]"
    ):
        SERIALIZER.dumps(value, "args")


def test_a_large_array_is_named() -> None:
    with pytest.warns(LargePayloadWarning, match=r"kwargs\['image'\] \(numpy.ndarray, 2,4\d\d kB\)"):
        SERIALIZER.dumps({"image": np.zeros(300_000), "size": 3}, "kwargs")


def test_large_without_a_culprit() -> None:
    with pytest.warns(LargePayloadWarning) as caught:
        SERIALIZER.dumps([b"x" * 1000] * 2000, "args")
    assert "most of it" not in str(caught[0].message)
    assert caught[0].filename == __file__


def test_small_values_are_not_warned_about() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SERIALIZER.dumps("x" * 900_000)


def test_plain_values_load_no_library() -> None:
    code = (
        "import sys; from omniq.serialization import Serializer; from omniq.signing import Signer\n"
        "serializer = Serializer(Signer('a secret of enough bytes'))\n"
        "serializer.loads(serializer.dumps([{'a': (1, {2})}]))\n"
        "print({'polars', 'pandas', 'numpy', 'pyarrow', 'cloudpickle'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


# --- errors as text --------------------------------------------------------------------------------------------------


def caught_from(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as error:  # noqa: BLE001 -- whatever it is
        return error
    raise AssertionError("it raised nothing")


def test_an_error_is_described() -> None:
    def task() -> None:
        try:
            {}["missing"]
        except KeyError as error:
            raise ValueError("no such thing") from error

    info = describe_error(caught_from(task))
    assert (info.type, info.text) == ("ValueError", "no such thing")
    assert "KeyError: 'missing'" in info.traceback
    assert "The above exception was the direct cause" in info.traceback
    assert 'raise ValueError("no such thing") from error' in info.traceback


def test_an_error_that_cannot_be_pickled() -> None:
    class Stubborn(Exception):
        def __init__(self, lock: object, *, needed: int) -> None:
            super().__init__("stubborn")
            self.lock = lock

        def __reduce__(self) -> str:
            raise TypeError("never")

    info = describe_error(Stubborn(threading.Lock(), needed=1))
    assert info.type.endswith("Stubborn")
    assert info.text == "stubborn"
    assert type(round_trip([info.type, info.text, info.traceback])) is list


@pytest.mark.parametrize("method", ["__str__", "__repr__"])
def test_an_error_that_cannot_be_shown(method: str) -> None:
    def broken(self: object) -> str:
        raise RuntimeError("broken")

    info = describe_error(type("Broken", (Exception,), {method: broken, "__module__": "m"})("x"))
    assert info.type == "m.Broken"
    assert "Broken" in info.traceback


def test_an_error_whose_text_is_no_text() -> None:
    class Number(Exception):
        def __str__(self) -> str:
            return 3  # type: ignore[return-value]  # noqa: PLE0307

    assert "TypeError" in describe_error(Number()).text


def test_huge_and_broken_texts_are_made_storable() -> None:
    info = describe_error(ValueError("start" + "x" * 1_000_000 + "\ud800end"))
    assert len(info.text) < 70_000
    assert len(info.traceback) < 70_000
    assert info.text.startswith("start")
    assert info.text.endswith("\\ud800end")
    assert "characters left out" in info.text
    info.traceback.encode()


def test_deep_recursion_and_groups() -> None:
    def dive(depth: int) -> int:
        return dive(depth + 1)

    assert "repeated" in describe_error(caught_from(lambda: dive(0))).traceback
    group = ExceptionGroup("several", [ValueError("one"), KeyError("two")])
    assert "ValueError: one" in describe_error(group).traceback


def test_errors_that_cause_each_other() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert "second" in describe_error(first).traceback


def test_a_long_chain_of_errors() -> None:
    error: Exception | None = None
    for number in range(3000):
        following = ValueError(f"number {number}")
        following.__cause__, error = error, following
    assert error is not None
    assert "number 2999" in describe_error(error).traceback


def test_notes_are_kept() -> None:
    error = ValueError("x")
    error.add_note("while reading row 3")
    assert "while reading row 3" in describe_error(error).traceback


def test_frames_of_what_runs_the_task_are_left_out() -> None:
    import omniq.serialization as inside

    source = "def run(call):\n    return call()\n"
    namespace: dict[str, Any] = {}
    exec(compile(source, str(Path(inside.__file__).with_name("runner_of_a_test.py")), "exec"), namespace)

    def task() -> None:
        raise ValueError("mine")

    def relay() -> None:
        namespace["run"](task)

    plain = caught_from(lambda: namespace["run"](task))
    assert plain.__traceback__ is not None
    plain.__traceback__ = plain.__traceback__.tb_next.tb_next  # type: ignore[union-attr]  # as the runner catches it
    text = describe_error(plain).traceback
    assert "in task" in text
    assert "runner_of_a_test" not in text
    within = describe_error(caught_from(relay)).traceback
    assert "runner_of_a_test" in within, "only frames before the task's own are left out"
