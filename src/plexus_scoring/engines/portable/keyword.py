"""KeywordClassifier: whether a text has one of the keywords."""

from __future__ import annotations

from plexus_scoring.engines.portable.base import ScoreInput, ScoreRun, ScoreSource
from plexus_scoring.engines.portable.language.common import read
from plexus_scoring.engines.portable.language.scores import Keyword, KeywordClassifier
from plexus_scoring.engines.portable.regexes import compile_pattern, found_in
from plexus_scoring.model.result import ScoreOutcome


class KeywordScore:
    """Plain keywords are found whatever their case, also inside words; a regex says itself what it wants."""

    def __init__(self, source: ScoreSource) -> None:
        """Compile the keywords. Raises ScorecardError for a regex that does not compile."""
        self.configuration = read(KeywordClassifier, source.entry, source)
        self.words: list[tuple[str, bool]] = []
        for number, keyword in enumerate(self.configuration.keywords):
            if isinstance(keyword, Keyword):
                pattern = compile_pattern(keyword.regex, source, "keywords", number, "regex")
                self.words.append((pattern, True))
            else:
                self.words.append((keyword, False))

    async def score(self, given: ScoreInput, run: ScoreRun) -> ScoreOutcome:  # noqa: ARG002 - asks no model
        """Look for the keywords, in their order; the first found decides."""
        folded = given.text.casefold()
        for word, is_pattern in self.words:
            found = (
                await found_in(given.text, word, ignore_case=True)
                if is_pattern
                else word.casefold() in folded
            )
            if found:
                return ScoreOutcome(
                    value=self.configuration.match_value, explanation=f"The text has {word!r}."
                )
        return ScoreOutcome(
            value=self.configuration.no_match_value,
            explanation="The text has none of the keywords.",
        )
