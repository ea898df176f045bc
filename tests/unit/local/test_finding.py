import pytest

from plexus_scoring.local import embedded_aws
from plexus_scoring.local.discovery import available, find_function
from plexus_scoring.local.embedded_aws import PYTHON_VARIABLE, find_python
from plexus_scoring.model.errors import ConfigurationError, NotFound


@pytest.fixture
def code(tmp_path):
    for name in ("one", "two_words"):
        folder = tmp_path / "lambda_functions" / name
        folder.mkdir(parents=True)
        (folder / "handler.py").touch()
    (tmp_path / "lambda_functions" / "empty").mkdir()
    return tmp_path


def test_functions_are_folders_with_a_handler(code):
    assert available(code) == ["one", "two_words"]
    assert find_function("one", code) == (code, "lambda_functions.one.handler.handler")
    assert find_function("two-words", code) == (code, "lambda_functions.two_words.handler.handler")


@pytest.mark.parametrize("name", ["three", "empty", "", ".", "..", "../one", "one/../one"])
def test_anything_else_is_refused(code, name):
    with pytest.raises(NotFound, match="function"):
        find_function(name, code)


def test_the_shipped_functions_are_found_without_a_root():
    root, handler = find_function("score_processing")
    assert handler == "lambda_functions.score_processing.handler.handler"
    assert (root / "lambda_functions" / "score_processing" / "handler.py").is_file()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A place with neither a variable, nor an environment, nor ministack."""
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embedded_aws, "__file__", str(tmp_path / "module.py"))
    monkeypatch.setattr(embedded_aws.importlib.util, "find_spec", lambda _: None)
    return tmp_path


def python_in(folder):
    path = folder / ".venv-ministack" / "bin" / "python"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_the_variable_comes_before_the_environment_folder(elsewhere, monkeypatch):
    named = elsewhere / "python"
    named.touch()
    found = python_in(elsewhere)
    assert find_python() == found
    monkeypatch.setenv(PYTHON_VARIABLE, str(named))
    assert find_python() == named


def test_the_environment_folder_is_found_from_below_the_checkout(elsewhere, monkeypatch):
    found = python_in(elsewhere)
    monkeypatch.setattr(embedded_aws, "__file__", str(elsewhere / "src" / "a" / "module.py"))
    (elsewhere / "other").mkdir()
    monkeypatch.chdir(elsewhere / "other")
    assert find_python() == found


def test_without_ministack_the_error_says_how_to_get_it(elsewhere):
    with pytest.raises(ConfigurationError, match="run `make setup`"):
        find_python()


def test_a_variable_that_names_no_file_is_an_error(elsewhere, monkeypatch):
    monkeypatch.setenv(PYTHON_VARIABLE, str(elsewhere / "absent"))
    with pytest.raises(ConfigurationError, match=r"PLEXUS_LOCAL_MINISTACK_PYTHON names .*absent"):
        find_python()
