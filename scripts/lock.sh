#!/bin/sh
# Writes requirements-dev.lock (everything) and requirements.lock (what `make demo` needs: the same versions).
# One resolution for Python 3.11 and later, on every platform. Run it through `make lock`.
set -eu
cd "$(dirname "$0")/.."
export UV_CUSTOM_COMPILE_COMMAND="make lock"
compile() {
  "${VENV:-.venv}/bin/uv" --system-certs --quiet pip compile pyproject.toml --universal --python-version 3.11 \
    --annotation-style line --upgrade "$@"
}
compile --all-extras --output-file requirements-dev.lock
compile --extra fast --constraint requirements-dev.lock --output-file requirements.lock
