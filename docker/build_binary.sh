#!/bin/sh
# Install binary packages: from a wheel where there is one, else from source with OpenSSL, repaired to be portable.
set -eu
install() {
  /build/tools/bin/pip --python /build/venv/bin/python install --quiet --no-cache-dir --no-compile --no-deps "$@"
}
if install --only-binary :all: --require-hashes -r "$1"; then
  exit 0
fi
echo "no wheel for this image: building from source" >&2
if command -v dnf >/dev/null; then
  dnf install -y -q libcurl-devel openssl-devel
elif command -v yum >/dev/null; then
  yum install -y -q libcurl-devel openssl11-devel
else
  apt-get update -q && apt-get install -y -q --no-install-recommends gcc libc6-dev libcurl4-openssl-dev libssl-dev
fi
PYCURL_SSL_LIBRARY=openssl /build/tools/bin/pip wheel --quiet --no-deps --require-hashes -r "$1" -w /build/wheels
if command -v auditwheel >/dev/null; then
  for wheel in /build/wheels/*-linux_*.whl; do
    [ -e "$wheel" ] && auditwheel repair "$wheel" -w /build/wheels && rm "$wheel"
  done
fi
install /build/wheels/*.whl
