#!/bin/sh
# The steps of the image, run by the Dockerfile and, in a clean environment, by a test.
# usage: build.sh dependencies | briquette       from the top of the checkout or of the build context
# VENV says where the environment is made; PYTHON with which interpreter (default: python3).
set -eu
venv=${VENV:?VENV must say where the environment is made}
step=${1:-}

case $step in
dependencies)
  # The lock names every package, so nothing is resolved, and nothing is compiled.
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --no-deps --only-binary :all: -r requirements.lock
  "$venv/bin/python" -m pip install --quiet 'hatchling>=1.27,<2'
  ;;
briquette)
  "$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation .
  "$venv/bin/python" -m pip uninstall --quiet --yes hatchling
  # From elsewhere, so that what is imported is what was installed. The task's first day must not wait for the compiler.
  source=$PWD
  cd /
  "$venv/bin/python" "$source/scripts/warm.py"
  "$venv/bin/python" -m compileall -q "$venv/lib" || true
  "$venv/bin/python" -c 'import briquette.aws.container, briquette.cli.main'
  ;;
*)
  echo "usage: build.sh dependencies | briquette" >&2
  exit 2
  ;;
esac
