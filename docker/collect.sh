#!/bin/sh
# Put the environment's packages, and a list of them (CycloneDX), where the second stage finds them.
set -eu
out="/build/out/lib/python$1"
rm -rf /build/out
mkdir -p "$out"
cp -R "/build/venv/lib/python$1/site-packages" "$out/site-packages"
sh /build/trim.sh "$out/site-packages"
# The interpreter that runs Python of scorecards is a program, not a module.
if [ -f /build/venv/bin/monty ]; then
  mkdir -p /build/out/bin
  cp /build/venv/bin/monty /build/out/bin/monty
fi
/build/tools/bin/cyclonedx-py environment --output-format JSON --output-reproducible \
  --output-file /build/out/sbom.cdx.json /build/venv/bin/python
