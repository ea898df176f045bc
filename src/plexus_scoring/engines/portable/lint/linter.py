"""Runs the rules on a scorecard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from plexus_scoring.engines.portable import classes
from plexus_scoring.engines.portable.base import CompileOptions, ScoreSource
from plexus_scoring.engines.portable.code import Interpreter
from plexus_scoring.engines.portable.dependencies import find_cycle, read_dependencies
from plexus_scoring.engines.portable.language import scores as language
from plexus_scoring.engines.portable.language.common import Language
from plexus_scoring.engines.portable.lint.findings import (
    Finding,
    Findings,
    Rule,
    Severity,
    did_you_mean,
)
from plexus_scoring.engines.portable.lint.graphs import lint_graph
from plexus_scoring.engines.portable.lint.keys import check_keys, check_unknown, lint_numbers
from plexus_scoring.engines.portable.processors import PROCESSORS
from plexus_scoring.engines.portable.regexes import problem_of
from plexus_scoring.engines.portable.scorecard import input_source_problem, references
from plexus_scoring.model.errors import ScorecardError
from plexus_scoring.model.scorecard import composed, folded
from plexus_scoring.model.scorecard_yaml import load_scorecard, read_document, score_entries

_MODELS: Mapping[str, type[Language]] = {
    "LangGraphScore": language.LangGraphScore,
    "KeywordClassifier": language.KeywordClassifier,
    "CompositeScore": language.CompositeScore,
}
_OPERATORS = ("==", "!=", "in", "not in")


def lint(text: str, *, file: str = "scorecard.yaml") -> list[Finding]:
    """Return all that is wrong or odd in a scorecard's YAML, in the file's order. Never raises."""
    findings = Findings(file)
    try:
        card = load_scorecard(text, file=file)
        document = read_document(text, file=file)
        entries = score_entries(document, file=file)
    except ScorecardError as error:
        rule = Rule.DUPLICATE_NAME if "two scores are named" in error.bare_message else Rule.YAML
        _add_error(findings, error, rule)
        return findings.sorted()
    whole = "scores" in document.data
    sources = {
        str(entry["name"]).strip(): ScoreSource(
            entry=entry,
            name=str(entry["name"]).strip(),
            scorecard=card.name,
            document=document,
            path=("scores", index) if whole else (),
            file=file,
        )
        for index, entry in enumerate(entries)
    }
    for source in sources.values():
        _lint_score(source, findings)
    _lint_dependencies(sources, findings)
    return findings.sorted()


def _lint_score(source: ScoreSource, findings: Findings) -> None:
    name = classes.class_name(source)
    _lint_processors(source, findings)
    _lint_input_source(source, findings)
    lint_numbers(source, findings)
    if name in classes.ELSEWHERE:
        findings.add(
            source,
            Rule.UNKNOWN_CLASS,
            f"the class {name} needs the package tactus, in an environment of its own",
            "set PLEXUS_PYTHON to its interpreter and PLEXUS_SCORING_ENGINE to auto",
            "class",
            severity=Severity.WARNING,
        )
        return
    if not classes.runs(name):
        findings.add(
            source,
            Rule.UNKNOWN_CLASS,
            f"{name!r} is no class of score" if name else "the score has no class",
            did_you_mean(name, [*classes.OWN, *classes.ELSEWHERE]),
            *(("class",) if name else ()),
        )
        return
    usable = check_keys(_MODELS[name], source.entry, source, findings) if name in _MODELS else True
    if name == "RubricScore":
        from plexus_scoring.engines.portable.rubric.language import (  # noqa: PLC0415 - only rubrics pay
            RubricConfiguration,
        )

        check_unknown(RubricConfiguration, source.entry, source, findings)
    if name == classes.GRAPH and "graph" in source.entry:
        lint_graph(source, findings)
    _lint_patterns(source, findings)
    if usable:
        _compile(source, findings)


def _lint_patterns(source: ScoreSource, findings: Findings) -> None:
    """Compile every regular expression: compiling the score stops at the first that is wrong."""
    for path, pattern in _patterns(source.entry):
        problem = problem_of(pattern)
        if problem:
            findings.add(source, Rule.REGEX, problem, _FIXES[Rule.REGEX], *path)


def _patterns(entry: Mapping[str, Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    keywords = entry.get("keywords")
    for number, keyword in enumerate(keywords if isinstance(keywords, list) else ()):
        pattern = keyword.get("regex") if isinstance(keyword, Mapping) else None
        if isinstance(pattern, str):
            yield ("keywords", number, "regex"), pattern
    validation = entry.get("validation")
    for name, rules in validation.items() if isinstance(validation, Mapping) else ():
        patterns = rules.get("patterns") if isinstance(rules, Mapping) else None
        for number, pattern in enumerate(patterns if isinstance(patterns, list) else ()):
            if isinstance(pattern, str):
                yield ("validation", name, "patterns", number), pattern


def _compile(source: ScoreSource, findings: Findings) -> None:
    """Compile, and report what only that shows, unless its line has an error already. No code is run."""
    try:
        classes.compile_score(source, CompileOptions(interpreter=Interpreter()))
    except ScorecardError as error:
        if error.line is None or not findings.has_error_at(error.line):
            _add_error(findings, error, _rule_of(error))


def _rule_of(error: ScorecardError) -> Rule:
    message = error.bare_message
    if "no `model_name`" in message:
        return Rule.MISSING_MODEL
    if "template" in message:
        return Rule.TEMPLATE
    if " code: " in message:
        return Rule.CODE
    return Rule.INVALID_VALUE


_FIXES = {
    Rule.MISSING_MODEL: "add `model_name: …` (and `model_provider: …`) to the score",
    Rule.YAML: "correct the YAML here; quotes around a text with : # { [ or a leading * & ! often help",
    Rule.DUPLICATE_NAME: "give each score a name of its own",
    Rule.REGEX: "escape what is meant literally, or close what is open",
    Rule.TEMPLATE: "close what is open: {{ … }} and {% … %}{% end… %}",
    Rule.CODE: "correct the Python; docs/plexus-compatibility.md lists what it may use",
}


def _add_error(findings: Findings, error: ScorecardError, rule: Rule) -> None:
    fix = _FIXES.get(rule, "see docs/plexus-compatibility.md for what the key takes")
    if "must be a mapping" in error.bare_message:
        fix = "name a scorecard's file; see docs/plexus-compatibility.md for what one looks like"
    if "syntax error" in error.bare_message:
        fix = "correct the Python at this line"
    findings.add_at(
        rule,
        error.bare_message,
        fix,
        line=error.line or 1,
        column=error.column or 1,
    )


def _lint_processors(source: ScoreSource, findings: Findings) -> None:
    for place in ("item", "data"):
        holder = source.entry.get(place)
        listed = holder.get("processors") if isinstance(holder, Mapping) else None
        for number, processor in enumerate(listed if isinstance(listed, list) else ()):
            name = processor.get("class") if isinstance(processor, Mapping) else None
            if not isinstance(name, str) or name not in PROCESSORS:
                findings.add(
                    source,
                    Rule.UNKNOWN_PROCESSOR,
                    f"{name!r} is no processor of items and is skipped",
                    did_you_mean(str(name), sorted(PROCESSORS)),
                    place,
                    "processors",
                    number,
                    *(("class",) if name else ()),
                    severity=Severity.WARNING,
                )


def _lint_input_source(source: ScoreSource, findings: Findings) -> None:
    problem = input_source_problem(source)
    if problem:
        findings.add(
            source,
            Rule.INPUT_SOURCE,
            problem,
            "take `class` out, and send the text as the item's; or set PLEXUS_PYTHON to the interpreter of an"
            " environment with Plexus, and PLEXUS_SCORING_ENGINE to auto",
            "item",
            "class",
        )


def _lint_dependencies(sources: Mapping[str, ScoreSource], findings: Findings) -> None:
    by_fold = {folded(name): name for name in sources}
    known = references(sources)
    edges: dict[str, list[str]] = {name: [] for name in sources}
    for name, source in sources.items():
        depends_on: Any = source.entry.get("depends_on")
        for number, dependency in enumerate(read_dependencies(depends_on)):
            step = dependency.name if isinstance(depends_on, Mapping) else number
            found = by_fold.get(folded(dependency.name)) or known.get(composed(dependency.name))
            if found is None:
                findings.add(
                    source,
                    Rule.UNKNOWN_DEPENDENCY,
                    f"{dependency.name!r} is no score of this scorecard",
                    did_you_mean(dependency.name, sources),
                    "depends_on",
                    step,
                )
            else:
                edges[name].append(found)
            condition = dependency.condition
            if condition is not None and condition.operator not in _OPERATORS:
                findings.add(
                    source,
                    Rule.UNKNOWN_OPERATOR,
                    f"the operator {condition.operator!r} never holds, so the score is always skipped",
                    f"use one of {', '.join(_OPERATORS)}",
                    "depends_on",
                    step,
                    "operator",
                )
    for name, source in sources.items():
        cycle = find_cycle(name, edges)
        if cycle and cycle[0] == name:
            findings.add(
                source,
                Rule.DEPENDENCY_CYCLE,
                f"the score depends on itself: {' → '.join(cycle)}",
                "take one of these out of depends_on",
                "depends_on",
            )
