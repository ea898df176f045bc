"""Python in scorecards (`LogicalClassifier`, `LogicalNode`): restricted and bounded unless the author is trusted.

See docs/adr/0005-restricted-code.md for what is allowed and why it runs inside the process.
"""

from plexus_scoring.engines.portable.code.function import CodeFunction, CodePlace, compile_function
from plexus_scoring.engines.portable.code.modules import importable

__all__ = ["CodeFunction", "CodePlace", "compile_function", "importable"]
