"""The module that the host imports beside the scorecard's."""


class LangGraphScore:
    """A name."""
