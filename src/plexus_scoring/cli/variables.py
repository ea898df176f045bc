"""Every environment variable of the product, whoever reads it: `Settings` and the parts with variables of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from plexus_scoring.settings import SettingDoc, Settings, describe_settings
from plexus_scoring.urls import HTTP


@dataclass(frozen=True)
class Section:
    """Variables that belong together."""

    title: str
    rows: tuple[SettingDoc, ...]


class Role(StrEnum):
    """What a process is to be; each needs other variables."""

    LOCAL = "local"
    SCORE_PROCESSING = "score_processing"
    SWEEPER = "sweeper"
    WORKER = "worker"


NEEDS: dict[Role, tuple[str, ...]] = {
    Role.LOCAL: (),
    Role.WORKER: (),  # depends on the transport: see `worker.connect.required_fields`
    Role.SCORE_PROCESSING: ("account_key", "response_queue_url", "attachments_bucket"),
    Role.SWEEPER: ("request_queue_url",),
}
"""Fields of `Settings`, as lambda_functions/*/handler.py ask for them."""


def _row(
    name: str,
    kind: str,
    default: str,
    doc: str,
    *,
    secret: bool = False,
    schemes: tuple[str, ...] = (),
) -> SettingDoc:
    return SettingDoc(
        name=name, type=kind, default=default, doc=doc, field="", secret=secret, schemes=schemes
    )


# Read from the mapping that `bootstrap.environment` returns, so that a secret can hold them.
_MODELS = (
    _row("OPENAI_API_KEY", "string", "", "Key of OpenAI or of a compatible endpoint.", secret=True),
    _row(
        "OPENAI_BASE_URL", "string", "", "Address of an OpenAI-compatible endpoint.", schemes=HTTP
    ),
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
    _row(
        "HTTPS_PROXY",
        "string",
        "",
        "Proxy for model servers: `http`, `https`, `socks5` or `socks5h`. So `HTTP_PROXY` and `ALL_PROXY`; "
        "`NO_PROXY` names exceptions.",
        secret=True,
    ),
    _row(
        "SSL_CERT_FILE",
        "string",
        "",
        "Authorities that model servers' certificates are checked with, in place of the system's; so `SSL_CERT_DIR`.",
    ),
)
_PROVIDERS = (
    _row("AZURE_OPENAI_ENDPOINT", "string", "", "Azure's address of the resource.", schemes=HTTP),
    _row("AZURE_OPENAI_API_KEY", "string", "", "Azure's key.", secret=True),
    _row("AZURE_OPENAI_AD_TOKEN", "string", "", "Azure's token, in place of a key.", secret=True),
    _row("AZURE_OPENAI_DEPLOYMENT", "string", "", "Azure's deployment. Default: the model's name."),
    _row("OPENAI_API_VERSION", "string", "", "Version of Azure's API."),
    _row("ANTHROPIC_API_KEY", "string", "", "Anthropic's key.", secret=True),
    _row(
        "ANTHROPIC_BASE_URL",
        "string",
        "https://api.anthropic.com",
        "Anthropic's address.",
        schemes=HTTP,
    ),
    _row("OLLAMA_BASE_URL", "string", "http://127.0.0.1:11434", "Address of Ollama.", schemes=HTTP),
    _row("OLLAMA_API_KEY", "string", "", "Ollama's key, where a proxy asks for one.", secret=True),
    _row("OPENAI_ORG_ID", "string", "", "OpenAI's organisation."),
    _row("OPENAI_PROJECT_ID", "string", "", "OpenAI's project."),
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
    _row("E2B_API_URL", "string", "", "Its API, where that is elsewhere.", schemes=HTTP),
    _row("E2B_SANDBOX_URL", "string", "", "Its sandboxes, where they are elsewhere."),
    _row("E2B_HTTP_VERSION", "string", "", "HTTP version of the calls to it."),
)
_TELEMETRY = (
    _row(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "string",
        "",
        "Where traces go, by OTLP over HTTP. Without it and the next one nothing is traced. OpenTelemetry's other "
        "variables (`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER`, …) hold as well.",
        schemes=HTTP,
    ),
    _row(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "string",
        "",
        "The same for traces alone, with its path.",
        schemes=HTTP,
    ),
    _row("OTEL_SERVICE_NAME", "string", "plexus-scoring", "The service's name in traces."),
)
_RUBRICS = (
    _row("PLEXUS_RUBRICS_DIR", "string", "", "Directory of further templates of rubrics."),
    _row("NLTK_DATA", "string", "", "Directory of NLTK's data, for the engine `plexus`."),
)
_LOCAL = (
    _row(
        "PLEXUS_LOCAL_INVOCATIONS_URL",
        "string",
        "",
        "Set by `demo` for its forwarding function: where the local function takes events.",
    ),
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
        Section("Rubrics and Plexus", _RUBRICS),
        Section("Sandbox", _SANDBOX),
        Section("Traces", _TELEMETRY),
        Section("Local deployment and demo", _LOCAL),
    )


def required_for() -> dict[str, list[str]]:
    """Return for what a field of `Settings` must be set: a function, a transport of the worker, a store."""
    from plexus_scoring.worker.connect import required_fields, transport_kind  # noqa: PLC0415

    found: dict[str, list[str]] = {}
    for role, fields in NEEDS.items():
        for field in fields:
            found.setdefault(field, []).append(f"`{role}`")
    kinds = [transport_kind(Settings(), name) for name in ("rabbitmq", "redis", "sqs")]
    for kind in kinds:
        for field in required_fields(Settings(), kind):
            found.setdefault(field, []).append(f"`worker` on {kind}")
    stored = required_fields(Settings(store="plexus_api"), kinds[0])
    for field in stored:
        if field not in required_fields(Settings(), kinds[0]):
            found.setdefault(field, []).append("store plexus_api")
    return found


def markdown(parts: Iterable[Section]) -> str:
    """Return ``docs/settings.md``."""
    required = required_for()
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
            "| variable | type | default | required for | meaning |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| `{row.name}` | {_cell(row.type)} | {f'`{row.default}`' if row.default else ''} "
            f"| {_cell(', '.join(required.get(row.field, ())))} | {_cell(row.doc)}{' Secret.' if row.secret else ''} |"
            for row in part.rows
        ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
