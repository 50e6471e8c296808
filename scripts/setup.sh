#!/bin/sh
# Builds or refreshes the project's own virtual environment from a lock file.
# usage: scripts/setup.sh LOCK        for instance: scripts/setup.sh requirements-dev.lock
# Needs nothing but a Python (3.11 or newer): no uv, and not even the distribution's venv package.
# The lock pins every package, so nothing is resolved here: pip's resolver needs more than ten minutes for
# boto3 + aiobotocore + moto. uv only installs faster; where it cannot be had, pip installs the same lock.
set -eu
cd "$(dirname "$0")/.."
lock=$1
venv=${VENV:-.venv}
uv_version=0.13.9

fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

[ -f "$lock" ] || fail "there is no lock file $lock; run this through make."

if ! new_enough "$venv/bin/python"; then  # missing, moved, or made by an older Python
  for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
    if new_enough "$candidate"; then base=$candidate; break; fi
  done
  [ -n "${base:-}" ] || fail "briquette needs Python 3.11 or newer; $(python3 --version 2>/dev/null || echo no python3) was found. Install one, or say where it is: make install PYTHON=/path/to/python3.11"
  # Debian splits ensurepip from its Python: then make an environment without pip and use the system's pip on it.
  if "$base" -c 'import ensurepip' >/dev/null 2>&1; then
    "$base" -m venv --clear "$venv"
  else
    "$base" -m pip --version >/dev/null 2>&1 || fail "$base has neither ensurepip nor pip. On Debian: apt-get install python3-venv"
    "$base" -m venv --clear --without-pip "$venv"
    "$base" -m pip --python "$venv/bin/python" install --quiet pip
  fi
fi

pip() { PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip "$@"; }
uv() {
  # A mirror that pip is told to use must serve uv too, and a company's certificates lie in the system's store.
  mirror=${PIP_INDEX_URL:-$(pip config list 2>/dev/null | sed -n "s/^global\.index.url='\(.*\)'\$/\1/p")}
  UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$mirror}" UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-120}" \
    "$venv/bin/uv" --system-certs --quiet "$@" --python "$venv/bin/python"
}

# The demo is a first run: it must not spend seconds on compiling libraries. The large development set compiles
# what it uses when it uses it.
compile=
[ "$lock" != requirements.lock ] || compile=--compile-bytecode

if pip install -qq --no-deps --only-binary :all: "uv==$uv_version" \
  && uv pip install $compile --no-deps -r "$lock" && uv pip install --no-deps --editable .; then
  exit 0
fi
printf 'setup: uv could not install %s; going on with pip, which takes longer.\n' "$lock" >&2
pip install --quiet --no-deps -r "$lock"
pip install --quiet --no-deps --editable .
