"""What a scorecard's code finds defined, in the shapes that Plexus gives it."""

import json as _plexus_json

_PLEXUS_PARAMETERS = (
    "scorecard_name",
    "name",
    "id",
    "key",
    "dependencies",
    "data",
    "number_of_classes",
    "label_score_name",
    "label_field",
    "validation",
)
_PLEXUS_MAX_PARTS = 100_000
_PLEXUS_MAX_DEPTH = 100


class Parameters:
    """A score's or node's parameters as attributes. What is not given is None."""

    scorecard_name = None
    name = None
    id = None
    key = None
    dependencies = None
    data = None
    number_of_classes = None
    label_score_name = None
    label_field = None
    validation = None

    def __init__(self, **fields):
        self._names = fields
        for name, value in fields.items():
            setattr(self, name, value)

    def model_dump(self):
        """Return all parameters."""
        names = [*_PLEXUS_PARAMETERS, *self._names]
        return {name: getattr(self, name) for name in names}


class ScoreInput:
    """`Score.Input`: the text, and the metadata with the state's fields on top."""

    def __init__(self, text="", metadata=None, results=None):
        self.text = text
        self.metadata = {} if metadata is None else metadata
        self.results = results


class Result:
    """`Score.Result`. The explanation that counts is `metadata["explanation"]`."""

    def __init__(
        self,
        parameters=None,
        value=None,
        explanation=None,
        confidence=None,
        metadata=None,
        error=None,
        code=None,
        **others,
    ):
        if value is None:
            raise ValueError("Score.Result needs a value")
        for name, other in others.items():
            setattr(self, name, other)
        self.parameters = parameters
        self.value = value
        self.explanation = explanation
        self.confidence = confidence
        self.metadata = {} if metadata is None else metadata
        self.error = error
        self.code = code

    def is_yes(self):
        """Return whether the value is "yes" in any case."""
        return str(self.value).lower() == "yes"

    def is_no(self):
        """Return whether the value is "no" in any case."""
        return str(self.value).lower() == "no"

    def __eq__(self, other):
        value = other.value if isinstance(other, _PlexusResult) else other
        return isinstance(value, str) and str(self.value).lower() == value.lower()

    def __hash__(self):
        return hash(str(self.value).lower())


class StateView:
    """`context["state"]`: the state's fields as attributes."""

    def __init__(self, fields):
        self._names = list(fields)
        for name, value in fields.items():
            setattr(self, name, value)

    def model_dump(self):
        """Return all fields."""
        return {name: getattr(self, name) for name in self._names}


# The code may use these names for its own things.
_PlexusParameters = Parameters
_PlexusInput = ScoreInput
_PlexusResult = Result
_PlexusState = StateView


class _PlexusNames:
    """A module or namespace: names as attributes."""

    def __init__(self, names):
        for name, value in names.items():
            setattr(self, name, value)


def log(*values, sep=" ", **_):
    """Write a line to the job's log."""
    print(*values, sep=sep)


log_info = log
log_debug = log
log_warning = log
log_error = log


def _plexus_plain(value, room, depth):
    """Return the value as JSON can hold it: what is neither text, number nor container becomes its text."""
    room[0] -= 1
    if room[0] < 0 or depth > _PLEXUS_MAX_DEPTH:
        raise MemoryError(
            "the value that the code returned has more than 100,000 parts or 100 levels"
        )
    kind = type(value)
    if value is None or kind is str or kind is bool or kind is int or kind is float:
        return value
    if isinstance(value, dict):
        parts = [_plexus_plain(part, room, depth + 1) for part in value.values()]
        keys = list(value)
        if not all(type(key) is str for key in keys):
            keys = [_plexus_plain(key, room, depth + 1) for key in keys]
        return {"dict": [keys, parts]}
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = [_plexus_plain(part, room, depth + 1) for part in value]
        if isinstance(value, list):
            return parts
        return {kind.__name__ if isinstance(value, (set, frozenset)) else "tuple": parts}
    return str(value)


def _plexus_answer(value):
    """Return the JSON text that the service reads."""
    room = [_PLEXUS_MAX_PARTS]
    if isinstance(value, _PlexusResult):
        metadata = _plexus_plain(value.metadata, room, 0)
        return _plexus_json.dumps(["Score.Result", str(value.value), metadata])
    return _plexus_json.dumps([type(value).__name__, _plexus_plain(value, room, 0), None])
