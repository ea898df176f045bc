"""`plexus-scoring score`: one text, one score, no services."""

from __future__ import annotations

import time
from typing import Annotated, Any, NoReturn

import typer

from plexus_scoring.cli.command import Command, load_settings, run
from plexus_scoring.cli.exits import Exit, exit_of
from plexus_scoring.cli.inputs import read_item, read_metadata, read_scorecard, read_stdin_once
from plexus_scoring.cli.output import (
    Format,
    FormatOption,
    error_body,
    print_error,
    print_fields,
    print_json,
)
from plexus_scoring.model.cost import Cost
from plexus_scoring.model.errors import (
    ConfigurationError,
    ErrorInfo,
    InvalidRequest,
    ScoringError,
    describe,
)
from plexus_scoring.model.result import ScoreOutcome
from plexus_scoring.model.scorecard import Scorecard
from plexus_scoring.ports import ScoreContext
from plexus_scoring.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("score", cls=Command)(score)


def score(
    *,
    scorecard: Annotated[
        str, typer.Option(metavar="FILE", help="Scorecard, or one score, in YAML.")
    ],
    item: Annotated[
        str,
        typer.Option(
            metavar="FILE|-",
            help="What to score: a .json file {id?, text, metadata?, external_id?}; anything else is the text.",
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            "--score", metavar="NAME", help="Name, key or id of the score, where there are several."
        ),
    ] = None,
    metadata: Annotated[
        str | None,
        typer.Option(metavar="FILE|JSON", help="Metadata, laid over the item's own."),
    ] = None,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Score one text with one score of a scorecard file, without any service.

    Exits with 0 scored, 2 bad input or scorecard, 3 dependency unmet or score disabled,
    4 engine unavailable or score failed.
    """
    try:
        settings = load_settings()
    except ConfigurationError as error:
        _unscored(error.info(), Exit.PROBLEM, output_format)
    try:
        read_stdin_once(scorecard, item)
        card = read_scorecard(scorecard)
        context = ScoreContext(
            item=read_item(
                item, max_bytes=settings.max_item_bytes, metadata=read_metadata(metadata)
            ),
            scorecard=card,
            score=name or _only_score(card),
            deadline=time.time() + settings.job_timeout,
        )
        outcome = run(_score(settings, context))
    except ScoringError as error:
        # Its set-up being wrong, say a missing key, makes an engine unavailable.
        wrong_setup = isinstance(error, ConfigurationError)
        _unscored(error.info(), Exit.FAILED if wrong_setup else exit_of(error), output_format)
    except Exception as error:  # noqa: BLE001  an engine may raise anything; it ends as a failed score
        _unscored(describe(error), Exit.FAILED, output_format)
    else:
        _scored(outcome, output_format)


async def _score(settings: Settings, context: ScoreContext) -> ScoreOutcome:
    from plexus_scoring.bootstrap import build_engine  # noqa: PLC0415  not needed for bad input

    engine = build_engine(settings)
    try:
        return await engine.score(context)
    finally:
        await engine.aclose()


def _only_score(card: Scorecard) -> str:
    if len(card.scores) == 1:
        return card.scores[0].name
    names = ", ".join(ref.name for ref in card.scores)
    raise InvalidRequest(f"{card.file}: name one of its scores with --score: {names}")


def _scored(outcome: ScoreOutcome, output_format: Format) -> None:
    if output_format is Format.JSON:
        print_json(_document("scored", outcome))
        return
    cost = outcome.cost
    print_fields(
        (
            ("value", outcome.value),
            ("explanation", outcome.explanation),
            ("confidence", None if outcome.confidence is None else f"{outcome.confidence:.3f}"),
            ("cost", _cost_line(cost)),
            ("dependencies", _cost_line(outcome.dependencies_cost)),
            (
                "undetermined",
                outcome.undetermined_reason or "yes" if outcome.undetermined else None,
            ),
            ("nodes", _nodes(outcome.trace)),
        )
    )


def _unscored(info: ErrorInfo, code: Exit, output_format: Format) -> NoReturn:
    print_error(info)
    if output_format is Format.JSON:
        status = "skipped" if code is Exit.SKIPPED else "failed"
        print_json(_document(status) | {"error": error_body(info)})
    raise typer.Exit(code)


def _document(status: str, outcome: ScoreOutcome | None = None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "status": status,
        "value": outcome.value if outcome else None,
        "explanation": outcome.explanation if outcome else None,
        "confidence": outcome.confidence if outcome else None,
        "cost": outcome.cost if outcome else None,
        "trace": outcome.trace if outcome else None,
    }
    if outcome is None:
        return document
    if outcome.undetermined:
        document["undetermined"] = True
        document["undetermined_reason"] = outcome.undetermined_reason
    if outcome.dependencies_cost.llm_calls:
        document["dependencies_cost"] = outcome.dependencies_cost
    if outcome.metadata:
        document["metadata"] = outcome.metadata
    return document


def _cost_line(cost: Cost) -> str | None:
    if not cost.llm_calls:
        return None
    calls = f"{cost.llm_calls} call{'s' if cost.llm_calls > 1 else ''}"
    return f"USD {cost.total_cost:.6f} ({calls}, {cost.total_tokens} tokens)"


def _nodes(trace: dict[str, Any] | None) -> str | None:
    """Return the way through the graph, in one line."""
    results = (trace or {}).get("node_results")
    if not isinstance(results, list):
        return None
    return " → ".join(str(entry.get("node_name")) for entry in results if isinstance(entry, dict))
