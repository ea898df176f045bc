"""What holds for every test."""

from hypothesis import settings

# An example that takes long says something about the machine only.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
