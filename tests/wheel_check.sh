#!/usr/bin/env bash
# Builds the wheel, installs it into an empty environment outside of the checkout, and uses it there.
# PYTHON is an interpreter with `build` and the pinned setuptools; the rest comes through constraints.txt.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# setuptools reuses build/lib, where modules deleted since would live on: it gets a clean copy of the sources.
mkdir "$work/source"
cp -R "$root"/{pyproject.toml,README.md,LICENSE,functrain,adapters} "$work/source"
"$PYTHON" -m build --wheel --no-isolation --outdir "$work/dist" "$work/source" >"$work/build.log" 2>&1 ||
    { cat "$work/build.log"; exit 1; }
wheel=$(echo "$work"/dist/functrain-*.whl)

"$PYTHON" -m venv "$work/venv"
install=("$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install --constraint "$root/constraints.txt")
"${install[@]}" pip
"${install[@]}" "functrain[torch,jax] @ file://$wheel"

cp "$root/tests/wheel_smoke.py" "$work/"
cd "$work"
env -u PYTHONPATH "$work/venv/bin/python" -I "$work/wheel_smoke.py" "$wheel"
