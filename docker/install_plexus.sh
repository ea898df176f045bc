#!/bin/sh
# Install Plexus, and nothing that it asks for: the lock has that. From /build/plexus where a checkout is, else from
# PLEXUS_REF, a commit of PLEXUS_REPOSITORY.
set -eu
fetch() { # DIRECTORY REPOSITORY COMMIT
  git init --quiet "$1"
  git -C "$1" fetch --quiet --depth 1 "$2" "$3"
  git -C "$1" checkout --quiet FETCH_HEAD
}
install() { # DIRECTORY
  /build/tools/bin/pip wheel --quiet --no-cache-dir --no-deps --no-build-isolation -w "$1-wheel" "$1"
  /build/tools/bin/pip --python /build/plexus-venv/bin/python install --quiet --no-cache-dir --no-compile --no-deps \
    "$1-wheel"/*.whl
}
if [ ! -f /build/plexus/pyproject.toml ]; then
  if [ -z "$PLEXUS_REF" ]; then
    echo "neither PLEXUS_REF nor a checkout: this base runs TactusScores, and no Plexus" >&2
    exit 0
  fi
  fetch /build/plexus "$PLEXUS_REPOSITORY" "$PLEXUS_REF"
fi
if [ ! -f /build/plexus/plexus/Scorecard.py ]; then
  echo "error: this is no checkout of https://github.com/AnthusAI/Plexus: plexus/Scorecard.py is not there" >&2
  exit 1
fi
install /build/plexus
# Releases before 1.63 import it. It is on no package index.
if grep -rqs --include='*.py' openai_cost_calculator /build/plexus/plexus; then
  if [ ! -f /build/cost-calculator/setup.py ]; then
    fetch /build/cost-calculator "$COST_CALCULATOR_REPOSITORY" "$COST_CALCULATOR_REF" || {
      echo "error: openai_cost_calculator cannot be fetched: give a checkout (PLEXUS_COST_CALCULATOR=DIR)" >&2
      exit 1
    }
  fi
  install /build/cost-calculator
fi
