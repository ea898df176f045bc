#!/bin/sh
# Print the interpreter of a version: manylinux keeps one in /opt/python for each ABI.
set -eu
tag="cp$(echo "$1" | tr -d .)"
for python in "/opt/python/$tag-$tag/bin/python$1" "/opt/python/$tag-$tag/bin/python3" "$(command -v "python$1" || true)"; do
  if [ -x "$python" ]; then
    echo "$python"
    exit 0
  fi
done
echo "the build image has no Python $1: choose another BUILD_IMAGE or PYTHON_VERSION" >&2
exit 1
