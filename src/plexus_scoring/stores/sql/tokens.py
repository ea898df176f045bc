"""Lease tokens, drawn from the kernel many at a time.

A read of the kernel's randomness gives up the interpreter's lock; with database threads beside the loop, a worker paid
for that on every claim. The tokens are as random as those of `transitions.new_token`.
"""

from __future__ import annotations

import os

_BYTES = 16
_AT_ONCE = 256
_tokens: list[str] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        after_in_child=_tokens.clear
    )  # parent and child must not share what is left


def new_token() -> str:
    """Return a fence that nobody can guess and no two claims share."""
    while True:
        try:
            return _tokens.pop()  # one step for the interpreter: safe among threads
        except IndexError:
            fresh = os.urandom(_BYTES * _AT_ONCE).hex()
            _tokens.extend(
                fresh[start : start + 2 * _BYTES] for start in range(0, len(fresh), 2 * _BYTES)
            )
