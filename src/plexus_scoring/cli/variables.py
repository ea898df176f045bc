"""Every environment variable of the product, whoever reads it: `Settings` and the parts with variables of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from plexus_scoring.settings import SettingDoc, describe_settings


@dataclass(frozen=True)
class Section:
    """Variables that belong together."""

    title: str
    rows: tuple[SettingDoc, ...]


def _row(name: str, kind: str, default: str, doc: str, *, secret: bool = False) -> SettingDoc:
    return SettingDoc(name=name, type=kind, default=default, doc=doc, field="", secret=secret)


# Read from the mapping that `bootstrap.environment` returns, so that a secret can hold them.
_MODELS = (
    _row("OPENAI_API_KEY", "string", "", "Key of OpenAI or of a compatible endpoint.", secret=True),
    _row("OPENAI_BASE_URL", "string", "", "Address of an OpenAI-compatible endpoint."),
    _row(
        "PLEXUS_MODEL_TIMEOUT_SECONDS",
        "number",
        "120.0",
        "Seconds that one call to a model may take.",
    ),
    _row("PLEXUS_MODEL_ATTEMPTS", "integer", "4", "Calls at most for one request, with the first."),
    _row(
        "PLEXUS_MODEL_RETRY_BASE_SECONDS",
        "number",
        "0.5",
        "Upper bound of the first wait between calls; it doubles.",
    ),
    _row(
        "PLEXUS_MODEL_RETRY_MAX_SECONDS",
        "number",
        "20.0",
        "Upper bound of any such wait; a provider's longer Retry-After gives the job back.",
    ),
    _row(
        "PLEXUS_MODEL_CONCURRENCY",
        "integer",
        "512",
        "Calls in flight to one provider at most; the bound adapts below this. "
        "`_OPENAI`, `_AZURE`, `_BEDROCK`, … at the end of this and the next two sets it for one provider.",
    ),
    _row("PLEXUS_MODEL_REQUESTS_PER_MINUTE", "number", "", "Calls a minute to one provider."),
    _row(
        "PLEXUS_MODEL_TOKENS_PER_MINUTE",
        "number",
        "",
        "Tokens a minute, of prompts and answers, to one provider.",
    ),
)
_PROVIDERS = (
    _row("AZURE_OPENAI_ENDPOINT", "string", "", "Azure's address of the resource."),
    _row("AZURE_OPENAI_API_KEY", "string", "", "Azure's key.", secret=True),
    _row("AZURE_OPENAI_AD_TOKEN", "string", "", "Azure's token, in place of a key.", secret=True),
    _row("AZURE_OPENAI_DEPLOYMENT", "string", "", "Azure's deployment. Default: the model's name."),
    _row("OPENAI_API_VERSION", "string", "", "Version of Azure's API."),
    _row("ANTHROPIC_API_KEY", "string", "", "Anthropic's key.", secret=True),
    _row("ANTHROPIC_BASE_URL", "string", "https://api.anthropic.com", "Anthropic's address."),
    _row("OLLAMA_BASE_URL", "string", "http://127.0.0.1:11434", "Address of Ollama."),
    _row("AWS_REGION", "string", "", "Region of every AWS service, Bedrock among them."),
)
_SANDBOX = (
    _row(
        "PLEXUS_SANDBOX",
        "`local` or `e2b`",
        "",
        "Where submitted code runs. Default: E2B where its key is set, else this machine.",
    ),
    _row(
        "PLEXUS_SANDBOX_ALLOW_WEAK",
        "`1`",
        "",
        "Run submitted code also where this machine cannot confine it; the result tells what holds.",
    ),
    _row("E2B_API_KEY", "string", "", "Key of E2B.", secret=True),
    _row("TEMPLATE_ID", "string", "", "Template of the sandboxes at E2B."),
    _row("E2B_DOMAIN", "string", "", "Address of an E2B of one's own."),
)
_LOCAL = (
    _row(
        "PLEXUS_LOCAL_MINISTACK_PYTHON",
        "string",
        "",
        "Python that has ministack, for the embedded AWS. Default: the one of `.venv-ministack`.",
    ),
)


def sections() -> tuple[Section, ...]:
    """Return all variables, those of `Settings` first."""
    return (
        Section("Service", tuple(describe_settings())),
        Section("Language models", _MODELS),
        Section("Model providers", _PROVIDERS),
        Section("Sandbox", _SANDBOX),
        Section("Local deployment and demo", _LOCAL),
    )


def markdown(parts: Iterable[Section]) -> str:
    """Return ``docs/settings.md``."""
    lines = [
        "# Settings",
        "",
        "Every environment variable. An empty one counts as not set; what is malformed or missing is named all at",
        "once when a process starts. `plexus-scoring config check` shows what a process would see.",
        "",
        "<!-- Written by `plexus-scoring config docs docs/settings.md` from the code: edit the texts there. -->",
    ]
    for part in parts:
        lines += [
            "",
            f"## {part.title}",
            "",
            "| variable | type | default | meaning |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| `{row.name}` | {_cell(row.type)} | {f'`{row.default}`' if row.default else ''} "
            f"| {_cell(row.doc)}{' Secret.' if row.secret else ''} |"
            for row in part.rows
        ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
