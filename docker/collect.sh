#!/bin/sh
# Put an environment's packages, and a list of them (CycloneDX), where the second stage finds them.
# An environment that is named is emptied: a second copy of it takes minutes.
#   collect.sh PYTHON_VERSION [ENVIRONMENT OUT [AWS_SERVICE ...]]
set -eu
version="$1"
environment="${2:-/build/venv}"
put="${2:+mv}"
out="${3:-/build/out}"
shift "$(( $# < 3 ? $# : 3 ))"
rm -rf "$out/lib"
mkdir -p "$out/lib/python$version"
/build/tools/bin/cyclonedx-py environment --output-format JSON --output-reproducible \
  --output-file "$out/sbom.cdx.json" "$environment/bin/python"
${put:-cp -R} "$environment/lib/python$version/site-packages" "$out/lib/python$version/site-packages"
sh /build/trim.sh "$out/lib/python$version/site-packages" "$@"
# The interpreter that runs Python of scorecards is a program, not a module.
if [ -f "$environment/bin/monty" ]; then
  mkdir -p "$out/bin"
  cp "$environment/bin/monty" "$out/bin/monty"
fi
