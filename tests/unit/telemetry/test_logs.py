from __future__ import annotations

import io
import json
import logging

import pytest

from plexus_scoring.telemetry import logs


@pytest.fixture
def stream():
    root = logging.getLogger()
    handlers = root.handlers
    levels = {one: one.level for one in (root, *map(logging.getLogger, logs._OWN))}
    stream = io.StringIO()
    logs.configure_logging("info", stream=stream)
    yield stream
    root.handlers = handlers
    for one, level in levels.items():
        one.setLevel(level)


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_the_jobs_ids(stream):
    with logs.job_scope(request_id="r", scoring_job_id="j") as scope:
        scope.fields["attempt"] = 2
        logging.getLogger("plexus_scoring.a").info("hello\n%s", "world", extra={"score": "s"})
    logging.getLogger("plexus_scoring.a").debug("not shown")
    [line] = lines(stream)
    assert line["message"] == "hello\nworld"
    assert (line["request_id"], line["scoring_job_id"], line["attempt"]) == ("r", "j", 2)
    assert (line["level"], line["logger"], line["score"]) == ("INFO", "plexus_scoring.a", "s")


def test_outside_of_a_job_there_are_no_ids(stream):
    logging.getLogger("plexus_scoring.a").warning("hello")
    assert "request_id" not in lines(stream)[0]


def test_an_exception_is_part_of_its_line_and_of_the_jobs_log(stream):
    with logs.job_scope(request_id="r") as scope:
        try:
            int("wrong")
        except ValueError:
            logging.getLogger("plexus_scoring.a").exception("failed")
    assert "ValueError: invalid literal" in lines(stream)[0]["exception"]
    assert "ValueError: invalid literal" in scope.text()


def test_a_runaway_log_is_cut_and_says_so(stream):
    with logs.job_scope(request_id="r") as scope:
        for _ in range(30):
            scope.write("x" * 100_000)
    assert len(scope.text()) <= logs.MAX_LOG_CHARACTERS + 100
    assert scope.text().endswith("the log is cut here\n")


def test_odd_text_does_not_break_a_line():
    # Formatted by hand: pytest's own report of a logged lone surrogate could not be sent between its processes.
    record = logging.makeLogRecord({"msg": "lone \ud800 surrogate\nand \x00"})
    line = logs.JsonFormatter().format(record)
    assert json.loads(line.encode().decode())["message"] == "lone \ud800 surrogate\nand \x00"
    assert "\n" not in line


@pytest.mark.parametrize("library", ["alembic.runtime.migration", "aiormq", "some_library"])
def test_what_libraries_have_to_say_stays_out_of_the_log(stream, library):
    logging.getLogger(library).info("Running upgrade -> 0001")
    assert lines(stream) == []
    logging.getLogger(library).warning("odd")
    assert [line["message"] for line in lines(stream)] == ["odd"]
