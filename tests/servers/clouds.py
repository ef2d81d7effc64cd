"""The three clouds' servers as their clients find them: straight, or by way of another port, where a proxy listens."""

from __future__ import annotations

import atexit
import functools
import uuid
from collections.abc import Callable

from omniq.backends.azure import AzureDriver
from omniq.backends.gcs import GCSDriver
from omniq.backends.objects_bucket import BucketDriver
from omniq.backends.s3 import S3Driver

from .azure import KEY, AzureServer
from .gcs import GCSServer
from .process import new_home
from .s3 import ACCESS, S3Server

NAMES = ("s3", "azure", "gcs")


class Cloud:
    """A server that runs until the test run ends. It keeps all in memory: whoever kills it loses what it holds.

    Args:
        name: One of `NAMES`.
        port: Where it listens.
        driver_class: The driver for it.
        bucket: The URL of a bucket, which need not be there.
        secret: What no message may say.
        environment: By a port: what leads clients there.
    """

    def __init__(
        self,
        name: str,
        port: int,
        driver_class: type[BucketDriver],
        bucket: str,
        secret: str,
        environment: Callable[[int], dict[str, str]],
    ) -> None:
        self.name = name
        self.port = port
        self.driver_class = driver_class
        self.bucket = bucket
        self.secret = secret
        self.environment = environment

    def new_url(self) -> str:
        """An empty store."""
        return f"{self.bucket}/store?create=true&namespace={uuid.uuid4().hex}"


@functools.cache
def shared(name: str) -> Cloud:
    """One server of each kind for the whole test run; it ends with it."""
    return {"s3": _s3, "azure": _azure, "gcs": _gcs}[name]()


def _s3() -> Cloud:
    server = S3Server(new_home("s3"))
    server.start()
    atexit.register(server.kill)

    def environment(port: int) -> dict[str, str]:
        return {**server.environment_of_clients, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}

    bucket, secret = f"s3://{server.bucket}", ACCESS["AWS_SECRET_ACCESS_KEY"]
    return Cloud("s3", server.port, S3Driver, bucket, secret, environment)


def _azure() -> Cloud:
    server = AzureServer(new_home("azure"))
    server.start()
    atexit.register(server.kill)

    def environment(port: int) -> dict[str, str]:
        return {"AZURE_STORAGE_CONNECTION_STRING": server.connection_string(port=port)}

    return Cloud("azure", server.port, AzureDriver, f"az://{server.container}", KEY, environment)


def _gcs() -> Cloud:
    server = GCSServer(new_home("gcs"))
    server.start()
    atexit.register(server.kill)

    def environment(port: int) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}

    return Cloud("gcs", server.port, GCSDriver, f"gs://{server.bucket}", "no secret is needed", environment)
