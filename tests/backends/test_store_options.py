"""Options that a store does not take, or not so: one error before anything connects, of the store and the option."""

from __future__ import annotations

from typing import Any

import pytest
from omniq import AsyncOmniQ, ConfigError, OptionError
from omniq.backends.registry import make_driver
from omniq.cli import main

STORES = {
    "sqlite://": "it takes none",
    "memory://": "it takes none",
    "file://": "it takes none",
    "s3://b": "its options are .*endpoint_url.*key.*secret",
    "az://c": "its options are .*account_name.*connection_string",
    "gs://b": "its options are .*endpoint_url.*project.*token",
    "redis://u:hunter2@h": "its options are .*health_check_interval.*password",
    "rediss://h": "its options are .*ssl_ca_certs",
    "redis+cluster://h": "its options are .*password",
    "postgresql://u:hunter2@h": "its options are .*namespace.*pool_size",
    "nats://hunter2@h": "its options are .*replicas.*storage",
}


@pytest.mark.parametrize(("url", "said"), STORES.items())
def test_unknown_option_is_refused_with_the_store_and_what_it_takes(url: str, said: str) -> None:
    with pytest.raises(OptionError, match=f"the store {url[:4]}.* takes no option 'colour': {said}") as caught:
        make_driver(url, options={"colour": "red"})
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (
            "s3://b",
            {
                "key": "k",
                "secret": "s",
                "endpoint_url": "http://h",
                "client_kwargs": {},
                "config_kwargs": {},
                "profile": "p",
            },
        ),
        ("az://c", {"connection_string": "x", "account_name": "a", "credential": None, "sas_token": "s"}),
        ("az://c", {"account_name": "a", "anon": False, "exclude_cli_credential": True}),
        ("gs://b", {"token": "anon", "project": "p", "endpoint_url": "http://h", "requests_timeout": 3}),
        ("redis://h", {"username": "u", "health_check_interval": 3, "socket_timeout": 2, "socket_keepalive": True}),
        ("rediss://h", {"ssl_ca_certs": "/x", "ssl_check_hostname": False, "password": "p"}),
        ("nats://h", {"replicas": 3, "storage": "memory", "max_bytes": -1, "compression": "s2", "timeout": 1}),
    ],
)
def test_options_of_the_client_libraries_are_taken(url: str, options: dict[str, Any]) -> None:
    assert make_driver(url, options=options).options.keys() >= {name for name in options if options[name] is not None}


def test_numbers_may_come_as_text() -> None:
    options = {"replicas": "3", "timeout": "2.5", "max_bytes": "1000"}
    assert make_driver("nats://h", options=options).options == {"replicas": 3, "timeout": 2.5, "max_bytes": 1000}


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("nats://hunter2@h", {"replicas": "three"}, r"nats://\*\*\*@h has a value .*`int.*replicas"),
        ("nats://h", {"replicas": 0}, "replicas"),
        ("nats://h", {"storage": "disk"}, "'disk'.*storage"),
        ("nats://h", {"timeout": 0}, "timeout"),
        ("nats://h", {"prefix": 5}, "prefix"),
        ("redis://h", {"socket_timeout": "soon"}, "socket_timeout is a number of seconds"),
        ("rediss://h", {"ssl_cert_reqs": "perhaps"}, "does not take an option of rediss://h: .*perhaps"),
        ("postgresql://h", {"pool_size": "many"}, "pool_size"),
    ],
)
def test_impossible_value_is_refused_before_connecting(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, OptionError), match=said) as caught:
        make_driver(url, options=options)
    assert "hunter2" not in str(caught.value)


def test_unknown_parameter_of_a_redis_url_is_named() -> None:
    with pytest.raises(OptionError, match="the store redis://h.* takes no option 'colour'"):
        make_driver("redis://h?colour=red")


@pytest.mark.parametrize(("url", "options"), [("s3://b", {"config_kwargs": "hunter2"}), ("gs://b", {"access": "all"})])
async def test_what_a_client_can_not_be_made_with_is_said(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="the client of the bucket 'b' can't be made.*(mapping|access)"):
        await make_driver(url, options=options).open()


async def test_component_is_named() -> None:
    app = AsyncOmniQ("memory://", results="memory://other", storage_options={"results": {"key": "k"}})
    with pytest.raises(OptionError, match="^results: the store memory://other takes no option 'key': it takes none"):
        await app.open()


def test_doctor_says_it_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OMNIQ_STORAGE_OPTIONS", '{"colour": "red"}')
    assert main(["doctor", "--url", "s3://b"]) == 1
    assert "the store s3://b takes no option 'colour': its options are" in capsys.readouterr().out
