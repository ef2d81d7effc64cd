"""An Azure Blob Storage server for the tests: Azurite, from npm (`make setup-node` installs it), in memory."""

from __future__ import annotations

import shutil
from pathlib import Path

from .process import Server, accepts, free_port

_AZURITE = Path(__file__).parent / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's published development account."""


class AzureServer(Server):
    """A server without containers.

    Args:
        directory: For its log.
    """

    container = "tests"

    def __init__(self, directory: Path) -> None:
        node = shutil.which("node")
        assert node is not None, "Node is missing: run `make setup-node`"
        assert _AZURITE.exists(), "Azurite is missing: run `make setup-node`"
        self.port = free_port()
        command = [node, _AZURITE, "--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--silent"]
        command += ["--disableTelemetry", "--skipApiVersionCheck", "--inMemoryPersistence"]
        super().__init__(command, log=directory / "azurite.log", ready=lambda: accepts(self.port))

    def connection_string(self, key: str = KEY, port: int | None = None) -> str:
        """What clients need to know."""
        endpoint = f"http://127.0.0.1:{port or self.port}/{ACCOUNT}"
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={key};BlobEndpoint={endpoint};"
