"""Python in scorecards (`LogicalClassifier`, `LogicalNode`): read here, run in an interpreter of another process.

`docs/adr/0025-scorecard-code-in-monty.md` says why. Nothing of this package compiles or runs a scorecard's code, except
`trusted`, which an operator switches on with ``PLEXUS_SCORING_TRUST_CODE=1``.
"""

from plexus_scoring.engines.portable.code.answer import RESULT, Answer
from plexus_scoring.engines.portable.code.function import ScorecardFunction, function_of
from plexus_scoring.engines.portable.code.interpreter import Interpreter
from plexus_scoring.engines.portable.code.place import CodePlace, CodeRaised
from plexus_scoring.engines.portable.code.source import Problem, problems_of

__all__ = [
    "RESULT",
    "Answer",
    "CodePlace",
    "CodeRaised",
    "Interpreter",
    "Problem",
    "ScorecardFunction",
    "function_of",
    "problems_of",
]
