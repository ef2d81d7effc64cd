"""The conformance suite on S3, as moto serves it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from hypothesis import settings
from omniq.backends.s3 import S3Driver
from omniq.models.record import Record
from omniq.testing import DriverConformance

from tests.servers.raw_objects import Objects, RawStore
from tests.servers.s3 import S3Server

pytestmark = pytest.mark.timeout(330)


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment_of_clients.items():
            patch.setenv(name, value)
        yield server


@functools.cache
def _client() -> Any:
    return boto3.client("s3")


def _prefix(url: str) -> str:
    return f"conformance/{url.partition('namespace=')[2]}/"


def _keys(url: str) -> list[str]:
    pages = _client().get_paginator("list_objects_v2").paginate(Bucket=S3Server.bucket, Prefix=_prefix(url))
    return [each["Key"] for page in pages for each in page.get("Contents", ())]


def _objects(url: str) -> Objects:
    client = _client()
    return {
        key.removeprefix(_prefix(url)): client.get_object(Bucket=S3Server.bucket, Key=key)["Body"].read()
        for key in _keys(url)
    }


class TestS3(DriverConformance):
    driver_class = S3Driver
    # Every commit is a request, and the races are hundreds: on a busy machine they take their time.
    time_limit = 300.0
    # moto takes some milliseconds for a request: fewer sequences, of which files and the others see enough.
    model_settings = settings(DriverConformance.model_settings, max_examples=5)

    def url(self, tmp_path: Path) -> str:
        return f"s3://{S3Server.bucket}/conformance?namespace={uuid4().hex}"

    async def read_raw(self, url: str, kind: str, key: str) -> Record | None:
        return RawStore(_objects(url)).record(kind, key)

    async def write_raw(self, url: str, record: Record) -> None:
        name, data = RawStore(_objects(url)).commit_of(record)
        _client().put_object(Bucket=S3Server.bucket, Key=_prefix(url) + name, Body=data, IfNoneMatch="*")

    async def discard(self, url: str) -> None:
        client, keys = _client(), _keys(url)
        for start in range(0, len(keys), 1000):
            page = [{"Key": key} for key in keys[start : start + 1000]]
            client.delete_objects(Bucket=S3Server.bucket, Delete={"Objects": page})

    def unusable_url(self, tmp_path: Path) -> str:
        return "s3://there-is-none/store"
