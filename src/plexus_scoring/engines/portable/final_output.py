"""A score's own `output`, applied when its graph reaches END.

It yields to the output of a condition that fired. How one tells that a condition fired is upstream's
(`generate_output_aliasing_function`): from the trace where there is one, else from the state, and the guess from
the state can be wrong in ways that a stored value shows. It is kept as it is, because values depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plexus_scoring.engines.portable.language.nodes import Condition, Node
from plexus_scoring.engines.portable.state import State


def apply_final_output(state: State, output: Mapping[str, Any], nodes: Sequence[Node]) -> None:
    """Set the fields that a score's `output` names, but those that a condition's output holds."""
    conditional = [
        (node.name, condition)
        for node in nodes
        for condition in node.conditions or ()
        if condition.output
    ]
    for name, original in output.items():
        held = False
        for node, condition in conditional:
            if name in (condition.output or {}):
                state.fails_in_plexus |= _fails_in_plexus(state, node, condition)
                held = _fired(state, node, condition, name)
                if held:
                    break
        if not held:
            state.alias_filled({name: original})


def _fails_in_plexus(state: State, node: str, condition: Condition) -> bool:
    """Whether upstream lowers a classification that is None here, which ends its run with ERROR.

    A node leaves none where a first answer was asked again, a fuzzy match found nothing, or code set none.
    """
    if state.traced:
        return any(
            entry.get("node_name") == node
            and (entry.get("output") or {}).get("classification", "") is None
            for entry in state.trace
        )
    field = condition.state or "classification"
    return any(
        name in state.fields and state.get(name) is None for name in ("classification", field)
    )


def _fired(state: State, node: str, condition: Condition, name: str) -> bool:
    if state.traced:
        return any(_shows(entry, node, condition, name) for entry in state.trace)
    if condition.node != "END":
        return False
    field = state.lower(condition.state or "classification")
    if (field or "") == condition.value.lower():
        return True
    current = state.get(name)
    return current not in (None, "") and current == (condition.output or {}).get(name)


def _shows(entry: Mapping[str, Any], node: str, condition: Condition, name: str) -> bool:
    """Whether a trace entry says that the condition fired."""
    entry_name = str(entry.get("node_name", ""))
    output = entry.get("output") or {}
    trigger = condition.value.lower()
    if entry_name.startswith(f"{node}_value_setter"):
        fired = str((entry.get("condition") or {}).get("trigger_value", ""))
        return fired.lower() == trigger and name in output
    if entry_name == node and condition.node == "END":
        classification = output.get("classification", "")
        return classification is not None and str(classification).lower() == trigger
    return False
