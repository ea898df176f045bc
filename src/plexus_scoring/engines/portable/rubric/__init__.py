"""RubricScore: weighted criteria, each judged by code metrics, tests, run time, rules, likeness or a model."""

from plexus_scoring.engines.portable.rubric.score import RubricScore

__all__ = ["RubricScore"]
