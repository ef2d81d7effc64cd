"""Only what the same secret signed, for the same purpose, is opened; and processes agree on the embedded secret."""

import errno
import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omniq import signing
from omniq.errors import ConfigError, SecretReadableWarning, SignatureError, StoreFullError, StoreReadOnlyError
from omniq.signing import Signer, embedded_secret

SECRET = b"a secret of enough bytes"
SIGNER = Signer(SECRET)


@given(st.binary(), st.text(max_size=20))
def test_what_was_signed_can_be_opened(payload: bytes, context: str) -> None:
    assert Signer(SECRET).open(SIGNER.sign(payload, context), "it", context) == payload


@given(st.binary(), st.data())
def test_one_changed_bit_is_refused(payload: bytes, data: st.DataObject) -> None:
    signed = bytearray(SIGNER.sign(payload))
    bit = data.draw(st.integers(0, len(signed) * 8 - 1))
    signed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SignatureError, match="args of task 1"):
        SIGNER.open(bytes(signed), "args of task 1")


@given(st.binary(max_size=100))
def test_bytes_of_others_are_refused(forged: bytes) -> None:
    with pytest.raises(SignatureError):
        SIGNER.open(forged, "it")


def test_another_secret_or_purpose_is_refused() -> None:
    signed = SIGNER.sign(b"payload", "function a")
    with pytest.raises(SignatureError):
        Signer(b"another secret of enough bytes").open(signed, "it", "function a")
    with pytest.raises(SignatureError):
        SIGNER.open(signed, "it", "function b")


def test_purpose_and_payload_do_not_run_together() -> None:
    signed = SIGNER.sign(b"payload", "a")
    moved = signed[:32] + b"a" + signed[32:]
    with pytest.raises(SignatureError):
        SIGNER.open(moved, "it", "")


def test_a_secret_may_be_text() -> None:
    assert Signer(SECRET.decode()).open(SIGNER.sign(b"payload"), "it") == b"payload"


@pytest.mark.parametrize("secret", ["", b"", "short", b"fifteen bytes.."])
def test_a_secret_that_can_be_guessed_is_refused(secret: bytes | str) -> None:
    with pytest.raises(ConfigError, match="at least 16 bytes"):
        Signer(secret)


def test_the_secret_shows_nowhere() -> None:
    assert SECRET.decode() not in f"{SIGNER!r} {SIGNER}"
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(SIGNER)
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps({"nested": [SIGNER]}, protocol=2)


def test_the_embedded_secret_is_made_once_and_private(tmp_path: Path) -> None:
    directory = tmp_path / "new" / ".omniq"
    secret = embedded_secret(directory)
    assert len(secret) == 64
    assert embedded_secret(directory) == secret
    assert secret != embedded_secret(tmp_path / "other")
    assert [path.name for path in directory.iterdir()] == ["secret"]
    if os.name == "posix":
        assert stat.S_IMODE((directory / "secret").stat().st_mode) == 0o600


def test_the_file_holds_what_omniq_secret_takes(tmp_path: Path) -> None:
    secret = embedded_secret(tmp_path)
    copied = (tmp_path / "secret").read_text().strip()
    assert Signer(copied).open(Signer(secret).sign(b"x"), "it") == b"x"


RACER = """
import sys, time
from pathlib import Path
from omniq.signing import embedded_secret
directory = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(embedded_secret(directory).decode())
"""


@pytest.mark.parametrize("round_", range(3))
def test_processes_that_make_it_at_once_agree(tmp_path: Path, round_: int) -> None:
    command = [sys.executable, "-c", RACER, str(tmp_path / "race")]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    secrets = {racer.communicate(timeout=60)[0] for racer in racers}
    assert secrets == {embedded_secret(tmp_path / "race").decode() + "\n"}
    assert [path.name for path in (tmp_path / "race").iterdir()] == ["secret"]


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    secret = embedded_secret(tmp_path)
    assert embedded_secret(tmp_path) == secret
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_secret_that_others_can_read_is_warned_about(tmp_path: Path) -> None:
    secret = embedded_secret(tmp_path)
    (tmp_path / "secret").chmod(0o644)
    with pytest.warns(SecretReadableWarning, match="chmod 600"):
        assert embedded_secret(tmp_path) == secret


@pytest.mark.parametrize("content", ["", "\n", "short\n"])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "_PATIENCE", 0.05)
    (tmp_path / "secret").write_text(content)
    with pytest.raises(ConfigError, match="delete the file"):
        embedded_secret(tmp_path)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.EROFS, StoreReadOnlyError), (errno.EACCES, StoreReadOnlyError), (errno.ENOSPC, StoreFullError)],
)
def test_a_disk_that_takes_nothing(
    tmp_path: Path, number: int, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(expected) as caught:
        embedded_secret(tmp_path)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreReadOnlyError):
        embedded_secret(tmp_path / "file")
