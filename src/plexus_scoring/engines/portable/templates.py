"""Jinja2 templates of prompts: sandboxed, bounded, and with Plexus's treatment of what is missing.

Plexus renders prompts with chainable undefined values, so ``{{ metadata.agent.name }}`` renders empty whatever
part of it is missing. Some nodes first ask that every top-level name of the template has a value; for these,
`render` takes ``missing="raise"``.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache, partial
from typing import Any, Final, Literal

import jinja2
from jinja2 import meta, nodes, pass_eval_context
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import SandboxedEnvironment, modifies_known_mutable
from jinja2.visitor import NodeTransformer
from markupsafe import Markup, escape

from plexus_scoring.engines.portable import bounds, metering, template_filters
from plexus_scoring.model.errors import BudgetExceeded, ScorecardError, ScoreFailed

MAX_STEPS: Final = 500_000
MAX_SECONDS: Final = 5.0
INLINE_SECONDS: Final = 0.02
MAX_MEMORY: Final = 256 * 1024 * 1024
MAX_OUTPUT: Final = bounds.MAX_ELEMENTS
_CACHED_TEMPLATES: Final = 1024
_CACHED_LENGTH: Final = 200_000

# Names that no template can spell, for the guards that the transformation below puts in.
_STEPS: Final = "#steps"
_CONCAT: Final = "#concat"

_given: ContextVar[Mapping[str, Any]] = ContextVar("given")


def render(
    template: str,
    values: Mapping[str, Any],
    *,
    missing: Literal["empty", "raise"],
    escaping: bool = False,
    seconds: float = MAX_SECONDS,
    wall: float | None = None,
) -> str:
    """Return the template filled in with `values`.

    Args:
        template: Jinja2 source, for example a node's ``user_message``.
        values: Top-level names. They are read, never changed.
        missing: What a top-level name without a value is: empty text, or an error. A missing part of a value
            that is there (``metadata.a.b``) renders empty either way.
        escaping: Whether what is not a text of `values` is escaped as for HTML: upstream renders questions for
            explanations this way, which shows in lists, mappings and the template's own literals.
        seconds: How much processor time it may take.
        wall: How long it may take by the clock; by default as `metering.Meter` has it.

    Raises:
        ScorecardError: Syntax error, or access to what a template may not reach.
        ScoreFailed: A name is missing (``missing="raise"``), or an operation failed on these values.
        BudgetExceeded: The template ran too long or its output grew too large.
    """
    compile_ = _compiled if len(template) <= _CACHED_LENGTH else _compile
    compiled, names = compile_(template, escaping=escaping)
    if escaping:
        values = {name: _marked(value) for name, value in values.items() if name in names}
    if missing == "raise":
        absent = sorted(name for name in names if name not in values)
        if absent:
            raise ScoreFailed(
                f"the template needs {', '.join(map(repr, absent))}, which no earlier node, input or metadata gives"
            )
    meter = metering.Meter(steps=MAX_STEPS, seconds=seconds, memory=MAX_MEMORY, wall=wall)
    meter_token, given_token = metering.METER.set(meter), _given.set(values)
    try:
        return _joined(compiled.generate(values))
    except metering.Stopped as stop:
        raise BudgetExceeded(f"the template was stopped: {stop}") from None
    except jinja2.exceptions.SecurityError as error:
        raise ScorecardError(f"template{_line(error)}: {error}") from error
    except RecursionError as error:
        raise BudgetExceeded(
            "the template was stopped: its macros call each other endlessly"
        ) from error
    except Exception as error:
        raise ScoreFailed(f"template{_line(error)}: {type(error).__name__}: {error}") from error
    finally:
        metering.METER.reset(meter_token)
        _given.reset(given_token)


async def render_apart(
    template: str,
    values: Mapping[str, Any],
    *,
    missing: Literal["empty", "raise"],
    escaping: bool = False,
) -> str:
    """Like `render`; what is not done within 20 ms is done anew in a thread, so that the event loop stays free."""
    try:
        return render(
            template,
            values,
            missing=missing,
            escaping=escaping,
            seconds=INLINE_SECONDS,
            wall=INLINE_SECONDS,
        )
    except BudgetExceeded:
        return await asyncio.to_thread(render, template, values, missing=missing, escaping=escaping)


def undefined_names(template: str) -> set[str]:
    """Return the top-level names that the template reads and does not set itself. Raises ScorecardError."""
    return set(_compiled(template)[1])


def _marked(value: Any) -> Any:
    """Return `value` with its texts marked as not to be escaped."""
    if isinstance(value, str):
        return Markup(value)  # noqa: S704 - the prompt goes to a model, as text, not to a browser
    if isinstance(value, Mapping):
        return {key: _marked(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_marked(part) for part in value]
    return tuple(map(_marked, value)) if isinstance(value, tuple) else value


def _joined(chunks: Iterator[str]) -> str:
    parts: list[str] = []
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > MAX_OUTPUT:
            raise metering.Stopped(f"its output is longer than {MAX_OUTPUT:,} characters")
        parts.append(chunk)
    return "".join(parts)


def _line(error: BaseException) -> str:
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == "<template>"
    ]
    return f" line {lines[-1]}" if lines else ""


def _compile(source: str, *, escaping: bool = False) -> tuple[jinja2.Template, frozenset[str]]:
    environment = _ESCAPING if escaping else _ENVIRONMENT
    try:
        names = frozenset(meta.find_undeclared_variables(environment.parse(source)))
        return environment.from_string(source), names
    except jinja2.TemplateSyntaxError as error:
        raise ScorecardError(f"template line {error.lineno}: {error.message}") from error
    except metering.Stopped as stop:
        raise ScorecardError(f"template: {stop}") from None
    except RecursionError as error:
        raise ScorecardError("template: nested too deeply") from error


_compiled = lru_cache(maxsize=_CACHED_TEMPLATES)(_compile)


class _Guards(NodeTransformer):
    """Put a step counter into every loop and a size check into every concatenation."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - jinja2's visitor dispatches on this name
        self.generic_visit(node)
        static = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        node.iter = nodes.Filter(
            node.iter, _STEPS, [nodes.Const(static)], [], None, None, lineno=node.lineno
        )
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802 - as above
        self.generic_visit(node)
        parts = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(parts, _CONCAT, [], [], None, None, lineno=node.lineno)


class _PromptEnvironment(SandboxedEnvironment):
    """The sandbox: no private attributes, no change to what the template was given, bounded operations."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        parsed: nodes.Template = _Guards().visit(super()._parse(source, name, filename))
        return parsed

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, Undefined) or isinstance(right, Undefined):
            return super().call_binop(context, operator, left, right)
        return bounds.OPERATORS[operator](left, right)

    def call(__self, __context: Context, __obj: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - a template's keyword may be named self or obj
        metering.step()
        return super().call(__context, _bounded(__obj), *args, **kwargs)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if not super().is_safe_attribute(obj, attr, value):
            return False
        return not (modifies_known_mutable(obj, attr) and _is_given(obj))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        def checked(*args: Any, **kwargs: Any) -> str:
            _check_format(value.__self__, args, kwargs)
            return wrapped(*args, **kwargs)

        return checked

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        # An undefined value would chain and render empty: an author must learn that this cannot work.
        raise jinja2.exceptions.SecurityError(
            f"access to {attribute!r} of a {type(obj).__name__} is not allowed in a template"
        )


def _bounded(function: Any) -> Any:
    """Return the bounded form of a callable whose result may be far larger than its arguments."""
    if function is range:
        return bounds.bounded_range
    receiver = getattr(function, "__self__", None)
    if isinstance(receiver, (str, bytes)) and function.__name__ in bounds.TEXT_METHODS:
        return partial(bounds.TEXT_METHODS[function.__name__], receiver)
    if isinstance(receiver, int) and function.__name__ in bounds.NUMBER_METHODS:
        return bounds.NUMBER_METHODS[function.__name__]
    return function


def _is_given(value: Any) -> bool:
    """Tell whether `value` is one of the template's inputs or a part of one; its own lists it may change."""
    stack: list[Any] = [_given.get({})]
    seen: set[int] = set()
    while stack:
        item = stack.pop()
        if item is value:
            return True
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Mapping):
            stack.extend(item.values())
        elif isinstance(item, (list, tuple, set)):
            stack.extend(item)
        elif hasattr(item, "__dict__"):
            stack.extend(vars(item).values())
    return False


def _check_format(text: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    values = [*args, *kwargs.values()]
    bounds.check_structure(values)
    if any(len(digits) > 5 for digits in _digits(text)) or ":{" in text:  # noqa: PLR2004 - a width
        raise metering.Stopped(
            "a format asks for a width of more than 5 digits, or takes it from an argument"
        )
    longest = max((bounds.text_size(value) for value in values), default=0)
    bounds.check_size(len(text) + text.count("{") * longest, "a format")


def _digits(text: str) -> list[str]:
    return "".join(character if character.isdigit() else " " for character in text).split()


def _steps(items: Any, static: int) -> Iterator[Any]:
    """Yield a loop's items; each is a step and may put out `static` characters of the template's own text."""
    meter = metering.METER.get()
    for item in items:
        if meter is not None:
            meter.step()
            meter.grow(static)
        yield item


@pass_eval_context
def _concat(context: nodes.EvalContext, parts: list[Any]) -> str:
    for part in parts:
        bounds.check_structure(part)
    if context.autoescape:
        texts: list[str] = [escape(part) for part in parts]
    else:
        texts = [str(part) for part in parts]
    bounds.check_size(sum(map(len, texts)), "a concatenation")
    return (Markup() if context.autoescape else "").join(texts)


def _finalize(value: Any) -> Any:
    bounds.check_structure(value)
    size = bounds.text_size(value)
    if size:
        bounds.check_size(size, "an expression")
    return value


def _environment(*, escaping: bool) -> _PromptEnvironment:
    environment = _PromptEnvironment(
        undefined=jinja2.ChainableUndefined,
        finalize=_finalize,
        autoescape=escaping,
        cache_size=0,
    )
    environment.filters[_STEPS] = _steps
    environment.filters[_CONCAT] = _concat
    environment.filters |= template_filters.BOUNDED
    environment.globals["range"] = range
    environment.globals.pop("lipsum", None)
    return environment


_ENVIRONMENT: Final = _environment(escaping=False)
_ESCAPING: Final = _environment(escaping=True)
