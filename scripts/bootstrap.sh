#!/bin/sh
# Finds a Python that OmniQ supports and hands over to bootstrap.py, which sets up what its arguments name.
set -eu
cd "$(dirname "$0")/.."

supported() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

for python in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.14; do
    if supported "$python"; then
        exec "$python" scripts/bootstrap.py "$@"
    fi
done

found=$("${PYTHON:-python3}" -V 2>&1) || found="no ${PYTHON:-python3}"
echo "set-up stopped: OmniQ needs Python 3.11 or newer and found $found. Install one (Debian 12 and later:" \
    "apt-get install python3), or name one that you have: make PYTHON=/path/to/python3.12 …" >&2
exit 1
