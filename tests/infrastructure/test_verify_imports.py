"""What the build of a base image refuses: a package that is not there, and a pycurl of another TLS library."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "verify_imports.py"


@pytest.fixture
def verify(monkeypatch):
    spec = importlib.util.spec_from_file_location("verify_imports", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "FULL", ["psycopg", "pycurl"])
    monkeypatch.setenv("PLEXUS_PYTHON", sys.executable)
    monkeypatch.setattr(module, "HOST", "import json")
    return module.main


def install(monkeypatch, **modules):
    for name, version in modules.items():
        fake = ModuleType(name)
        fake.version = version
        monkeypatch.setitem(sys.modules, name, fake)


def test_a_full_base_with_openssl_is_let_through(verify, monkeypatch):
    install(monkeypatch, psycopg="3", pycurl="PycURL/7.49 libcurl/8.9 OpenSSL/3.0.15 zlib/1.2")
    assert verify("full") == 0


def test_pycurl_of_another_tls_library_stops_the_build_with_one_line(verify, monkeypatch, capsys):
    install(monkeypatch, psycopg="3", pycurl="PycURL/7.49 libcurl/8.9 GnuTLS/3.7.9")
    assert verify("full") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: pycurl is built without OpenSSL: PycURL/7.49")
    assert error.count("\n") == 1


def test_a_missing_package_stops_the_build_with_one_line(verify, monkeypatch, capsys):
    install(monkeypatch, psycopg="3")
    monkeypatch.setitem(sys.modules, "pycurl", None)
    assert verify("full") == 1
    assert capsys.readouterr().err.startswith(
        "error: pycurl cannot be imported: ModuleNotFoundError"
    )


def test_an_environment_that_cannot_import_plexus_stops_the_build_with_one_line(
    verify, monkeypatch, capsys
):
    install(monkeypatch, psycopg="3", pycurl="OpenSSL/3")
    monkeypatch.setitem(verify.__globals__, "HOST", "import a_package_that_is_missing")
    assert verify("full") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {sys.executable} cannot import Plexus: ModuleNotFoundError")
    assert error.count("\n") == 1
