"""Sizes of the functions beside scoring and sweeper, the same in every stage.

A folder of ``lambda_functions/`` without an entry gets its stage's `other_function` size.
"""

from __future__ import annotations

from collections.abc import Mapping

from infrastructure.config.model import FunctionConfig

OTHER_FUNCTIONS: Mapping[str, FunctionConfig] = {
    # `plexus-scoring new-function` adds a line below this one.
}
