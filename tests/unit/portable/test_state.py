"""The state of a graph: what an author's `output` may not put in the place of the trace's mapping."""

import pytest

from plexus_scoring.engines.portable.state import State
from plexus_scoring.model.errors import ScoreFailed


@pytest.mark.parametrize("set_fields", [State.alias, State.alias_filled])
def test_an_output_that_sets_metadata_to_a_text_is_refused(set_fields):
    state = State(text="item", metadata={"agent": "Ada"}, results={})
    with pytest.raises(ScoreFailed, match="`output` sets 'metadata'"):
        set_fields(state, {"metadata": "text"})
    state.log_node("first", {})
    assert len(state.trace) == 1
