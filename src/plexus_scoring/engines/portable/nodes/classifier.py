"""Classifier: asks a model for one of the valid classes, and again until the answer has one."""

from __future__ import annotations

from plexus_scoring.engines.models.base import ChatMessage
from plexus_scoring.engines.portable.base import CompileOptions, ScoreRun
from plexus_scoring.engines.portable.class_parser import ClassParser
from plexus_scoring.engines.portable.confidence import calibrated, confidence_of
from plexus_scoring.engines.portable.language.nodes import ClassifierNode
from plexus_scoring.engines.portable.nodes.base import CONFIDENCE_LOGPROBS, GraphNode
from plexus_scoring.engines.portable.state import State

UNKNOWN = "unknown"
GAVE_UP = "Maximum retries reached"
_LOGPROB_PROVIDERS = ("ChatOpenAI", "AzureChatOpenAI")


class Classifier(GraphNode[ClassifierNode]):
    """One call and up to `maximum_retry_count` more; then the class is "unknown"."""

    fields = ("reasoning", "confidence", "raw_logprobs")
    aliases_inside = False

    def prepare(self, options: CompileOptions) -> None:  # noqa: ARG002 - nothing of it matters here
        """Compile the parser."""
        self.classes = self.node.valid_classes or ["Yes", "No"]
        self.parser = ClassParser(self.classes, from_start=bool(self.node.parse_from_start))
        wants = self.node.confidence and self.node.model_provider in _LOGPROB_PROVIDERS
        self.logprobs = CONFIDENCE_LOGPROBS if wants else None

    async def work(self, state: State, run: ScoreRun) -> bool:
        """Ask until the answer names a class.

        True where upstream applies `output` inside the node: after its last step, which is the confidence if that is
        asked for, else giving up.
        """
        history: list[ChatMessage] = []
        fields = state.fields
        for attempt in range(self.node.maximum_retry_count + 1):
            fields["retry_count"] = attempt
            first = await self.render(fields, "empty", required=True)
            reply = await self.ask(run, [*first[:2], *history], logprobs=self.logprobs)
            fields["completion"] = reply.text
            if self._parse(state, reply.text):
                state.undetermined = None
                if self.node.confidence:
                    raw = confidence_of(reply, fields["classification"], self.parser)
                    fields["confidence"] = calibrated(raw, self.node.confidence_calibration)
                return self.node.confidence
            if attempt < self.node.maximum_retry_count:
                fields["completion"] = None  # what a template that names it sees when asked again
            if reply.text.strip():
                history.append(ChatMessage("assistant", reply.text))
            history.append(ChatMessage("user", self._again(attempt + 1)))
        fields["classification"] = UNKNOWN
        fields["explanation"] = GAVE_UP
        state.undetermined = UNKNOWN
        return not self.node.confidence

    def _parse(self, state: State, completion: str) -> bool:
        fields = state.fields
        if not completion.strip():
            fields["classification"] = None
            fields["explanation"] = "No completion received from LLM"
            return False
        fields["classification"] = self.parser.parse(completion)
        fields["explanation"] = completion.strip()
        state.log_node(
            self.name,
            {"classification": fields["classification"], "explanation": fields["explanation"]},
        )
        return fields["classification"] is not None

    def _again(self, attempt: int) -> str:
        classes = "', '".join(self.classes)
        return (
            f"You responded with an invalid classification. Please classify as one of: '{classes}'. "
            f"This is attempt {attempt} of {self.node.maximum_retry_count}."
        )
