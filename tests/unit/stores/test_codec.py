"""What a store writes, it can read again."""

import msgspec
import pytest

from plexus_scoring.model.errors import InvalidRequest
from plexus_scoring.stores.codec import round_trip


class Counted(msgspec.Struct):
    count: int


def test_a_document_comes_back():
    assert round_trip(Counted(1)) == Counted(1)


def test_what_would_not_come_back_is_refused_before_it_is_stored():
    with pytest.raises(InvalidRequest, match="Counted cannot be stored as JSON: Expected `int`"):
        round_trip(Counted("one"))
