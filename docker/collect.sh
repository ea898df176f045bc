#!/bin/sh
# Put the environment's packages, and a list of them (CycloneDX), where the second stage finds them.
set -eu
out="/build/out/lib/python$1"
rm -rf /build/out
mkdir -p "$out"
cp -R "/build/venv/lib/python$1/site-packages" "$out/site-packages"
# Tests and type stubs of packages are never imported.
find "$out/site-packages" -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
find "$out/site-packages" -name '*.pyi' -delete
# botocore's data of services that are not called: 90 % of boto3.
data="$out/site-packages/botocore/data"
for folder in "$data"/*/; do
  case "$(basename "$folder")" in
    sqs | dynamodb | s3 | secretsmanager | ssm | sts | bedrock-runtime | lambda) ;;
    *) rm -rf "$folder" ;;
  esac
done
/build/tools/bin/cyclonedx-py environment --output-format JSON --output-reproducible \
  --output-file /build/out/sbom.cdx.json /build/venv/bin/python
