#!/bin/sh
# Install what a lock names into an environment. uv takes a tenth of pip's time; where it cannot, pip does.
#   install.sh ENVIRONMENT LOCK [--no-deps]
set -eu
environment="$1"
lock="$2"
shift 2
/build/tools/bin/uv pip install --quiet --no-cache --native-tls --python "$environment/bin/python" --require-hashes "$@" \
  -r "$lock" \
|| /build/tools/bin/pip --python "$environment/bin/python" install --quiet --no-cache-dir --no-compile --require-hashes "$@" \
  -r "$lock"
