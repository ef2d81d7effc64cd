"""One set of fields, whatever they come from; each error names the field and what it may be."""

from __future__ import annotations

import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from omniq import Config, ConfigError
from omniq.errors import UnknownVariableWarning

FIELDS: dict[str, tuple[Any, Any]] = {
    # Field: what a user may write, what becomes of it.
    "url": ("memory://x", "memory://x"),
    "queue": ("memory://q", "memory://q"),
    "results": ("memory://r", "memory://r"),
    "events": ("memory://e", "memory://e"),
    "schedules": ("memory://s", "memory://s"),
    "secret": ("a secret of enough bytes", "a secret of enough bytes"),
    "default_queue": ("io", "io"),
    "lease": ("2m", 120.0),
    "heartbeat": ("500ms", 0.5),
    "poll_interval": ("0.25", 0.25),
    "max_claims": ("7", 7),
    "max_retries": ("0", 0),
    "retry_delay": ("1.5s", 1.5),
    "retry_backoff": ("3", 3.0),
    "retry_jitter": ("0.5", 0.5),
    "retry_max_delay": ("1h", 3600.0),
    "task_ttl": ("1d", 86400.0),
    "result_ttl": ("7 d", 604800.0),
    "event_retention": ("90s", 90.0),
    "durability": ("full", "full"),
    "storage_options": ('{"key": "abc"}', {"key": "abc"}),
    "routes": ('{"report_*": "slow"}', {"report_*": "slow"}),
    "large_values": ("s3://bucket/values", "s3://bucket/values"),
    "large_value_bytes": ("1000", 1000),
}


def test_every_field_is_tried() -> None:
    assert set(FIELDS) == set(Config.__struct_fields__)


@pytest.mark.parametrize("field", FIELDS)
def test_field_can_come_by_keyword_mapping_yaml_environment_and_config(
    field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, meant = FIELDS[field]
    by_keyword = Config.load(None, **{field: written})
    assert getattr(by_keyword, field) == meant
    assert Config.load({field: written}) == by_keyword
    assert Config.load(by_keyword) == by_keyword
    path = tmp_path / "omniq.yaml"
    path.write_text(f"{field}: {written}\n")
    assert Config.load(path) == by_keyword
    assert Config.load(str(path)) == by_keyword
    monkeypatch.setenv(f"OMNIQ_{field.upper()}", str(written))
    assert Config.load() == by_keyword


def test_environment_goes_before_the_source_and_keywords_before_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIQ_LEASE", "20")
    monkeypatch.setenv("OMNIQ_MAX_RETRIES", "2")
    config = Config.load({"lease": 10, "max_retries": 1, "poll_interval": 5}, max_retries=3)
    assert (config.lease, config.max_retries, config.poll_interval) == (20, 3, 5)


def test_environment_goes_before_a_config_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIQ_LEASE", "20")
    assert Config.load(Config(lease=10, max_retries=1)) == Config(lease=20, max_retries=1)


def test_none_leaves_a_field_as_it_is() -> None:
    assert Config.load({"lease": 10}, lease=None).lease == 10


def test_durations_may_be_timedeltas() -> None:
    assert Config.load(lease=timedelta(minutes=1), task_ttl=timedelta(hours=1)) == Config(lease=60, task_ttl=3600)


def test_heartbeat_is_a_third_of_the_lease_unless_set() -> None:
    assert Config.load(lease=9).heartbeat_seconds == 3
    assert Config.load(lease=9, heartbeat=1).heartbeat_seconds == 1


def test_heartbeat_that_comes_after_the_lease_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"heartbeat must be shorter than the lease \(5 s\), not 5 s"):
        Config.load(lease=5, heartbeat=5)


def test_each_component_has_its_own_store_or_the_common_one() -> None:
    config = Config.load(url="memory://all", results="memory://results")
    stores = [config.store_url(component) for component in ("queue", "results", "events", "schedules")]
    assert stores == ["memory://all", "memory://results", "memory://all", "memory://all"]


def test_unknown_field_is_refused_and_the_fields_are_named() -> None:
    with pytest.raises(ConfigError, match="unknown configuration field 'leese': the fields are url, .*lease"):
        Config.load(leese=5)
    with pytest.raises(ConfigError, match="'leese'"):
        Config.load({"leese": 5})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", ""),
        ("url", 5),
        ("default_queue", ""),
        ("lease", 0),
        ("lease", -1),
        ("lease", "soon"),
        ("lease", "5 weeks"),
        ("lease", ""),
        ("lease", True),
        ("lease", [5]),
        ("lease", float("nan")),
        ("lease", float("inf")),
        ("lease", "inf"),
        ("lease", 1e300),
        ("lease", 10**400),
        ("lease", timedelta(-1)),
        ("heartbeat", 0),
        ("poll_interval", 0),
        ("max_claims", 0),
        ("max_claims", 1.5),
        ("max_retries", -1),
        ("max_retries", True),
        ("max_retries", "many"),
        ("max_retries", float("inf")),
        ("max_retries", 10**30),
        ("retry_delay", -1),
        ("retry_backoff", 0.5),
        ("retry_jitter", 1.1),
        ("retry_jitter", -0.1),
        ("retry_max_delay", "-1"),
        ("task_ttl", 0),
        ("result_ttl", -5),
        ("event_retention", 0),
        ("durability", "always"),
    ],
)
def test_impossible_value_is_refused_with_field_and_value(field: str, value: object) -> None:
    with pytest.raises(ConfigError) as refusal:
        Config.load(None, **{field: value})
    message = str(refusal.value)
    assert message.startswith(f"{field} must be ")
    assert message.endswith(f"not {value!r}")
    assert "\n" not in message


def test_impossible_value_in_the_environment_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIQ_LEASE", "soon")
    with pytest.raises(ConfigError, match="lease must be .*'90s'.*not 'soon'"):
        Config.load()


def test_refused_secret_does_not_show() -> None:
    with pytest.raises(ConfigError, match=r"secret must be text, not \*\*\*"):
        Config.load(secret=b"hunter2")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"- a\n- b\n", "must be a mapping of fields, not list"),
        (b"lease: 5\nqueue: redis://h\nlease: 6\n", "has 'lease' twice, again in line 3"),
        (b"queue: redis://h\nstorage_options:\n  queue: {a: 1, a: 2}\n", "has 'a' twice, again in line 3"),
        (b"environments:\n  test: {}\n  test: {}\n", "has 'test' twice, again in line 3"),
        (b"lease: [", "is not YAML"),
        (b"\xff\x00lease", "is not YAML"),
        (b"\x00", "is not YAML"),
    ],
)
def test_file_that_is_no_configuration_is_refused_in_one_line(content: bytes, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "omniq.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refusal:
        Config.load(path)
    assert str(path) in str(refusal.value)
    assert complaint in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n"])
def test_file_without_content_is_a_configuration_without_fields(content: str, tmp_path: Path) -> None:
    (tmp_path / "omniq.yaml").write_text(content)
    assert Config.load(tmp_path / "omniq.yaml") == Config()


def test_keys_may_be_alike_where_yaml_has_them_apart(tmp_path: Path) -> None:
    path = tmp_path / "omniq.yaml"
    path.write_text("storage_options:\n  queue: &q {a: 1}\n  results: {<<: *q, b: 2}\nroutes: {a: b, b: a}\n")
    assert Config.load(path).store_options("results") == {"a": 1, "b": 2}


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't read the configuration .*nothing.yaml: No such file"):
        Config.load(tmp_path / "nothing.yaml")


def test_repr_shows_what_differs_and_nothing_secret() -> None:
    url, secret = "redis://user:hunter2@host:6379/0", "a secret of enough bytes"
    config = Config.load({"url": url, "secret": secret, "lease": 5})
    assert repr(config) == "Config(url='redis://user:***@host:6379/0', secret='***', lease=5.0)"


def test_config_is_one_immutable_struct() -> None:
    with pytest.raises(AttributeError):
        Config().lease = 5.0  # type: ignore[misc]
    assert msgspec.structs.replace(Config(), lease=5.0).lease == 5


# --- stores with options ---


def test_options_for_all_stores_or_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = Config.load(url="s3://bucket", storage_options={"key": "k"})
    assert flat.store_options("queue") == flat.store_options("results") == {"key": "k"}
    each = Config.load(results="s3://bucket", storage_options={"results": {"key": "k"}})
    assert (each.store_options("queue"), each.store_options("results")) == ({}, {"key": "k"})


def test_a_store_may_be_a_mapping_with_its_options() -> None:
    config = Config.load({"queue": "redis://h", "results": {"url": "s3://b", "storage_options": {"key": "k"}}})
    assert (config.queue, config.results) == ("redis://h", "s3://b")
    assert (config.store_options("queue"), config.store_options("results")) == ({}, {"key": "k"})
    with pytest.raises(ConfigError, match="results has an unknown field 'uri': the fields are url, storage_options"):
        Config.load({"results": {"uri": "s3://b"}})


MIXED = {
    "url": "s3://b",
    "storage_options": {"key": "flat"},
    "results": {"url": "az://c", "storage_options": {"account_name": "k"}},
}


def test_options_of_one_store_never_reach_another_s_client() -> None:
    config = Config.load(MIXED)
    options = {name: config.store_options(name) for name in ("queue", "results", "events", "schedules")}
    flat = {"key": "flat"}
    assert options == {"queue": flat, "results": {"account_name": "k"}, "events": flat, "schedules": flat}
    assert Config.load(MIXED | {"events": "memory://"}).store_options("events") == {}
    assert Config.load(MIXED | {"events": "s3://other"}).store_options("events") == {"key": "flat"}
    none = {"url": "s3://other", "storage_options": {}}
    assert Config.load(MIXED | {"events": none}).store_options("events") == {}


@pytest.mark.parametrize(
    "written",
    [
        {"url": {"url": "s3://b", "storage_options": {"key": "flat"}}, "results": MIXED["results"]},
        {"url": "s3://b", "results": "az://c", "storage_options": {"key": "flat", "results": {"account_name": "k"}}},
        {
            "url": "s3://b",
            "results": "az://c",
            "storage_options": '{"url": {"key": "flat"}, "results": {"account_name": "k"}}',
        },
        MIXED | {"storage_options": {"key": "flat", "results": {"account_name": "another"}}},
    ],
)
def test_options_may_be_written_in_several_ways(written: dict[str, Any]) -> None:
    assert Config.load(written) == Config.load(MIXED)


def test_options_from_the_environment_go_with_a_store_that_is_a_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIQ_STORAGE_OPTIONS", '{"key": "flat"}')
    assert Config.load({name: MIXED[name] for name in ("url", "results")}) == Config.load(MIXED)


def test_store_that_becomes_a_mapping_later_leaves_the_others_their_options() -> None:
    config = Config.load(url="s3://b", storage_options={"key": "flat"})
    assert config.updated(results=MIXED["results"]) == Config.load(MIXED)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"queue": "hunter2"}, "storage_options has 'queue', the name of a store, so there must be a mapping"),
        ({"queue": {1: "hunter2"}}, "there must be a mapping with text keys: write {'queue': {'option': ...}}"),
        ({"result": {"key": "hunter2"}}, "storage_options has 'result', which is no store: did you mean 'results'?"),
        (["hunter2"], "storage_options must be a mapping with text keys, not ***"),
        ("hunter2", "storage_options must be a mapping, as JSON where it is text, not ***"),
    ],
)
def test_options_that_can_be_nobody_s_are_refused(options: object, complaint: str) -> None:
    for source in ({"storage_options": options}, MIXED | {"storage_options": options}):
        with pytest.raises(ConfigError) as refusal:
            Config.load(source)
        assert complaint in str(refusal.value)
        assert "hunter2" not in str(refusal.value)


def test_options_of_a_url_that_nothing_uses_are_refused() -> None:
    stores = dict.fromkeys(("queue", "results", "events", "schedules"), "s3://b")
    with pytest.raises(ConfigError, match="are for the url sqlite:///.omniq/omniq.db, which nothing uses"):
        Config.load(stores, storage_options={"key": "k"})
    assert Config.load(stores, url="s3://c", storage_options={"key": "k"}).store_options("queue") == {"key": "k"}


def test_another_process_gets_the_same_configuration_by_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config.load(
        queue="redis://h", storage_options={"queue": {"a": 1}}, routes={"a*": "b"}, lease=7, retry_jitter=0, task_ttl=9
    )
    for name, value in config.as_variables().items():
        if value is not None:
            monkeypatch.setenv(name, value)
    assert Config.load() == config


# --- environments and variables ---

SECTIONS = """
lease: 10
queue: redis://localhost
storage_options: {queue: {a: 1, b: 2}}
environments:
  production:
    queue: redis://:${QUEUE_PASSWORD}@prod
    storage_options: {queue: {b: 3}}
  test:
    queue: memory://
"""


def test_section_of_the_environment_goes_before_what_stands_at_the_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "omniq.yaml"
    path.write_text(SECTIONS)
    monkeypatch.setenv("QUEUE_PASSWORD", "hunter2")
    assert Config.load(path).queue == "redis://localhost"
    config = Config.load(path, environment="production")
    assert (config.queue, config.lease) == ("redis://:hunter2@prod", 10)
    assert config.store_options("queue") == {"a": 1, "b": 3}
    assert "hunter2" not in repr(config)
    monkeypatch.setenv("OMNIQ_ENVIRONMENT", "test")
    assert Config.load(path).queue == "memory://"
    with pytest.raises(ConfigError, match="no section 'staging' under `environments`: there is production, test"):
        Config.load(path, environment="staging")


def test_variables_stand_in_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "db")
    assert Config.load({"url": "postgresql://${HOST}/${NAME:-omniq}"}).url == "postgresql://db/omniq"
    with pytest.raises(ConfigError, match="secret refers to the environment variable NO_SUCH, which is not set"):
        Config.load({"secret": "${NO_SUCH}"})


def test_fields_can_be_changed_later() -> None:
    config = Config.load(lease=10)
    assert config.updated(lease="20s", default_queue="io") == Config(lease=20, default_queue="io")
    assert config.updated() == config
    with pytest.raises(ConfigError, match="unknown configuration field 'leese'"):
        config.updated(leese=1)


@pytest.mark.parametrize("source", [{"lease": 10}, {"lease": 10, "environments": {}}, Config(lease=10), None])
def test_environment_of_a_source_without_sections_is_refused(
    source: Config | dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="'production'.*(there is none|none is given)"):
        Config.load(source, environment="production")
    monkeypatch.setenv("OMNIQ_ENVIRONMENT", "production")  # is for all sources, those without sections too
    assert Config.load(source).lease in {10, 30}


def test_variable_that_is_no_setting_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMNIQ_QEUE", "OMNIQ_XYZZY", "OMNIQ_PORT_6379_TCP_ADDR", "OMNIQ_SERVICE_HOST", "OMNIQ_ENVIRONMENT"):
        monkeypatch.setenv(name, "hunter2")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Config.load()
        Config.load()
    assert [str(each.message) for each in caught] == [
        "the environment variable OMNIQ_QEUE is no setting of OmniQ's and has no effect: did you mean OMNIQ_QUEUE?",
        "the environment variable OMNIQ_XYZZY is no setting of OmniQ's and has no effect: see `help(omniq.Config)`",
    ]
    assert {each.category for each in caught} == {UnknownVariableWarning}
