"""The check that stops an image build whose packages the runtime cannot load."""

import importlib.util
import os
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "docker" / "check_glibc.py"


@pytest.fixture
def check():
    spec = importlib.util.spec_from_file_location("check_glibc", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("tags", "needs"),
    [
        (["py3-none-any"], None),
        (["cp312-cp312-manylinux_2_28_x86_64"], (2, 28)),
        (["cp311-cp311-manylinux2014_x86_64"], (2, 17)),
        (["cp311-cp311-manylinux1_x86_64", "cp311-cp311-manylinux_2_28_x86_64"], (2, 5)),
        (["cp311-cp311-linux_x86_64"], (99, 99)),
    ],
)
def test_a_wheels_tag_tells_its_glibc(check, tags, needs):
    assert check.floor(tags) == needs


def install(folder, name, *tags):
    info = folder / f"{name}.dist-info"
    info.mkdir(parents=True)
    (info / "WHEEL").write_text("Wheel-Version: 1.0\n" + "".join(f"Tag: {tag}\n" for tag in tags))


def test_the_fatal_pair_is_named_in_one_line(check, tmp_path, monkeypatch, capsys):
    install(tmp_path, "rapidfuzz-3.14.6", "cp311-cp311-manylinux_2_28_x86_64")
    install(tmp_path, "msgspec-0.22.0", "cp311-cp311-manylinux2014_x86_64")
    monkeypatch.setattr(os, "confstr", lambda _: "glibc 2.26")
    assert check.main(str(tmp_path)) == 1
    error = capsys.readouterr().err
    assert error.startswith(
        "error: this runtime image has glibc 2.26, but rapidfuzz-3.14.6 needs 2.28: choose"
    )
    assert error.count("\n") == 1
    assert "msgspec" not in error


def test_a_pair_that_fits_passes(check, tmp_path, monkeypatch, capsys):
    install(tmp_path, "rapidfuzz-3.14.6", "cp312-cp312-manylinux_2_28_x86_64")
    monkeypatch.setattr(os, "confstr", lambda _: "glibc 2.34")
    assert check.main(str(tmp_path)) == 0
    assert capsys.readouterr().err == ""
