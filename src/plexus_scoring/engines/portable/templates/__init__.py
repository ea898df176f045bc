"""Jinja2 templates of prompts: sandboxed, bounded, and with Plexus's treatment of what is missing.

Plexus renders prompts with chainable undefined values, so ``{{ metadata.agent.name }}`` renders empty whatever
part of it is missing. Some nodes first ask that every top-level name of the template has a value; for these,
`Template.render` takes ``missing="raise"``.

This process only parses. A template that does nothing but substitute is filled in here, step by step; every other one
is compiled and rendered in a process of `pool`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

import jinja2
from jinja2 import nodes
from jinja2.compiler import Frame
from jinja2.lexer import TokenStream
from jinja2.meta import TrackingCodeGenerator
from jinja2.runtime import Undefined

from plexus_scoring.engines.portable.templates import worker
from plexus_scoring.engines.portable.templates.pool import POOL, Pool
from plexus_scoring.model.errors import BudgetExceeded, ScorecardError, ScoreFailed

MAX_CHARACTERS: Final = 500_000
MAX_TOKENS: Final = 50_000
MAX_DIGITS: Final = 3_500
"""Fewer than the 4,300 that Python converts, so that a hexadecimal number can be written in decimal."""

# What the event loop does by itself: a hundred prompts of this size at the same moment take a few milliseconds.
_INLINE_STEPS: Final = 200
_INLINE_CHARACTERS: Final = 500_000
_INLINE_BITS: Final = 4_096

_ERRORS: Final = {
    worker.SCORECARD_ERROR: ScorecardError,
    worker.FAILED: ScoreFailed,
    worker.BUDGET_EXCEEDED: BudgetExceeded,
}


class Template:
    """A parsed template.

    Args:
        source: Jinja2 source, for example a node's ``user_message``.

    Attributes:
        names: The top-level names that the template reads and does not set itself.
        substitutes: Whether it only puts in values, and so is rendered in this process.

    Raises:
        ScorecardError: Syntax error, a filter that does not exist, or a template that is too long or too deep.
    """

    def __init__(self, source: str) -> None:
        if len(source) > MAX_CHARACTERS:
            raise ScorecardError(f"template: longer than {MAX_CHARACTERS:,} characters: shorten it")
        names = _Names()
        try:
            tree = _ENVIRONMENT.parse(source)
            names.visit(tree)
        except jinja2.TemplateSyntaxError as error:
            raise ScorecardError(f"template line {error.lineno}: {error.message}") from error
        except RecursionError as error:
            raise ScorecardError("template: nested too deeply") from error
        self.source = source
        self.names = frozenset(names.undeclared_identifiers)
        self._read = frozenset(names.read)
        self._parts = _substitutions(tree)
        self.substitutes = self._parts is not None

    async def render(
        self,
        values: Mapping[str, Any],
        *,
        missing: Literal["empty", "raise"],
        escaping: bool = False,
        pool: Pool = POOL,
    ) -> str:
        """Return the template filled in with `values`.

        Args:
            values: Top-level names. They are read, never changed.
            missing: What a top-level name without a value is: empty text, or an error. A missing part of a value
                that is there (``metadata.a.b``) renders empty either way.
            escaping: Whether what is not a text of `values` is escaped as for HTML: upstream renders questions for
                explanations this way, which shows in lists, mappings and the template's own literals.
            pool: Where a template is rendered that does more than substitute.

        Raises:
            ScorecardError: Access to what a template may not reach.
            ScoreFailed: A name is missing (``missing="raise"``), or an operation failed on these values.
            BudgetExceeded: The template ran too long, took too much memory, or its output grew too large.
            EngineUnavailable: No process could be started.
        """
        if missing == "raise":
            absent = sorted(name for name in self.names if name not in values)
            if absent:
                raise ScoreFailed(
                    f"the template needs {', '.join(map(repr, absent))}, which no earlier node, input or metadata gives"
                )
        # Texts of the values are not escaped, and nothing else that is filled in here has a character to escape.
        text = self._substituted(values)
        if text is not None:
            return text
        read = {name: values[name] for name in self._read if name in values}
        kind, text = await pool.render(self.source, read, escaping=escaping)
        if kind == worker.TEXT:
            return text
        raise _ERRORS[kind](text)

    def _substituted(self, values: Mapping[str, Any]) -> str | None:
        """Return the text, or None if it must be rendered in a process of its own."""
        if self._parts is None:
            return None
        texts: list[str] = []
        size = 0
        for part in self._parts:
            value: Any = part if isinstance(part, str) else part.value(values)
            if type(value) is not str:
                # A list may be small and endless as text, and an object's text is its own code.
                if not _is_short(value):
                    return None
                value = str(value)
            size += len(value)
            if size > _INLINE_CHARACTERS:
                return None
            texts.append(value)
        return "".join(texts)


def _is_short(value: Any) -> bool:
    if type(value) is int:
        return value.bit_length() <= _INLINE_BITS
    return value is None or type(value) in (bool, float) or isinstance(value, Undefined)


class _Path(NamedTuple):
    """A substitution, for example ``metadata.agent["name"]``: the first name, and how to go on from there."""

    name: str
    steps: tuple[tuple[Callable[[Any, Any], Any], str | int], ...]
    line: int

    def value(self, values: Mapping[str, Any]) -> Any:
        try:
            value = values[self.name]
        except KeyError:
            value = jinja2.ChainableUndefined(name=self.name)
        try:
            for get, key in self.steps:
                value = get(value, key)
        except jinja2.exceptions.SecurityError as error:
            raise ScorecardError(f"template line {self.line}: {error}") from error
        return value


def _substitutions(tree: nodes.Template) -> list[str | _Path] | None:
    """Return the template's texts and paths in order, or None if it has anything else or a great many of them."""
    parts: list[str | _Path] = []
    steps = 0
    for output in tree.body:
        if not isinstance(output, nodes.Output):
            return None
        for node in output.nodes:
            part = node.data if isinstance(node, nodes.TemplateData) else _path(node)
            if part is None:
                return None
            steps += 0 if isinstance(part, str) else 1 + len(part.steps)
            if steps > _INLINE_STEPS:
                return None
            parts.append(part)
    return parts


def _path(node: nodes.Expr) -> _Path | None:
    steps: list[tuple[Callable[[Any, Any], Any], str | int]] = []
    line = node.lineno
    while not isinstance(node, nodes.Name):
        if isinstance(node, nodes.Getattr):
            steps.append((_ENVIRONMENT.getattr, node.attr))
        elif (
            isinstance(node, nodes.Getitem)
            and isinstance(node.arg, nodes.Const)
            and type(node.arg.value) in (str, int)
        ):
            steps.append((_ENVIRONMENT.getitem, node.arg.value))
        else:
            return None
        node = node.node
    if node.name == "self" or node.name in _ENVIRONMENT.globals:
        return None
    return _Path(node.name, tuple(reversed(steps)), line)


class _ParsingEnvironment(worker.PromptEnvironment):
    """The sandbox for parsing: what can be computed beforehand is left to where the template is rendered."""

    def __init__(self) -> None:
        super().__init__()
        self.finalize = _not_beforehand

    def _tokenize(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> TokenStream:
        tokens = self.lexer.tokeniter(source, name, filename, state)
        return TokenStream(self.lexer.wrap(_checked(tokens), name, filename), name, filename)


@jinja2.pass_context
def _not_beforehand(_: Any, value: Any) -> Any:
    """Return the value. A `finalize` that asks for the context keeps Jinja2 from putting out constants early."""
    return value


def _checked(tokens: Iterable[tuple[int, str, str]]) -> Iterator[tuple[int, str, str]]:
    for number, token in enumerate(tokens):
        line, kind, text = token
        if number >= MAX_TOKENS:
            raise jinja2.TemplateSyntaxError(
                f"the template has more than {MAX_TOKENS:,} words and signs: split it", line
            )
        if kind in ("integer", "float") and len(text) > MAX_DIGITS:
            raise jinja2.TemplateSyntaxError(
                f"a number of more than {MAX_DIGITS:,} digits: shorten it", line
            )
        yield token


class _Names(TrackingCodeGenerator):
    """Finds the names that a template reads, without computing anything of it.

    Attributes:
        read: All of them; `undeclared_identifiers` leaves out what Jinja2 itself offers, such as `range`.
    """

    def __init__(self) -> None:
        super().__init__(_ENVIRONMENT)
        self.optimizer = None
        self.read: set[str] = set()

    def enter_frame(self, frame: Frame) -> None:
        super().enter_frame(frame)
        self.read |= {
            name
            for action, name in frame.symbols.loads.values()
            if action == "resolve" and name is not None
        }

    def visit_EvalContextModifier(self, node: nodes.EvalContextModifier, frame: Frame) -> None:  # noqa: N802 - jinja2 dispatches on this name
        for keyword in node.options:  # jinja2's own method computes their values
            self.visit(keyword.value, frame)
        frame.eval_ctx.volatile = True


_ENVIRONMENT: Final = _ParsingEnvironment()
