#!/bin/sh
# Take out of a site-packages folder what no process of ours reads.
#   trim.sh SITE_PACKAGES [AWS_SERVICE ...]
set -eu
packages="$1"
shift
find "$packages" -type d \( -name tests -o -name test -o -name node_modules \) -prune -exec rm -rf {} +
find "$packages" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' \) -delete
# The libraries' aids for testing programs that use them.
rm -rf "$packages/sqlalchemy/testing" "$packages/alembic/testing"
# boto3's data of services that are never called: nine tenths of it.
for folder in "$packages"/botocore/data/*/; do
  [ -d "$folder" ] || continue
  case " bedrock-runtime dynamodb lambda s3 secretsmanager sqs ssm sts $* " in
    *" $(basename "$folder") "*) ;;
    *) rm -rf "$folder" ;;
  esac
done
# Debug symbols: a tenth of the worker. Libraries that auditwheel patched (NAME.libs beside them) may not survive it.
if command -v strip >/dev/null; then
  find "$packages" -name '*.so' -not -path '*.libs/*' | while read -r library; do
    top="${library#"$packages"/}"
    [ -d "$packages/${top%%/*}.libs" ] || strip --strip-unneeded "$library"
  done
fi
