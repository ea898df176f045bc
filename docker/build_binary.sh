#!/bin/sh
# Install binary packages: from wheels where there are some for this image, else from source, repaired to be portable.
#   build_binary.sh LOCK_OF_WHEELS LOCK_OF_SOURCES [source]
set -eu
install() {
  /build/tools/bin/pip --python /build/venv/bin/python install --quiet --no-cache-dir --no-compile --no-deps "$@"
}
if [ "${3:-}" != source ] && install --only-binary :all: --require-hashes -r "$1"; then
  exit 0
fi
echo "building binary packages from source" >&2
if command -v dnf >/dev/null; then
  dnf install -y -q libcurl-devel libpq-devel openssl-devel
elif command -v yum >/dev/null; then
  yum install -y -q libcurl-devel openssl11-devel postgresql-devel
else
  apt-get update -q && apt-get install -y -q --no-install-recommends \
    gcc libc6-dev libcurl4-openssl-dev libpq-dev libssl-dev "python${PYTHON_VERSION}-dev"
fi
# The tools of the lock build, and no newer ones that pip would fetch.
PATH="/build/tools/bin:$PATH" PYCURL_SSL_LIBRARY=openssl /build/tools/bin/pip wheel --quiet --no-deps --no-build-isolation \
  --no-binary pycurl,psycopg-c --require-hashes -r "$2" -w /build/wheels
for wheel in /build/wheels/*-linux_*.whl; do
  [ -e "$wheel" ] || continue
  PATH="/build/tools/bin:$PATH" auditwheel repair "$wheel" -w /build/wheels && rm "$wheel"
done
install /build/wheels/*.whl
