"""What holds for every test."""

from pathlib import Path

from hypothesis import settings

# An example that takes long says something about the machine only.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# Files that take minutes come first, and short ones fill the processes' time at the end.
LONG_FIRST = (
    "infrastructure/test_images",
    "integration/chaos",
    "infrastructure/test_worker_image",
    "infrastructure",
    "e2e",
    "integration",
    "conformance",
)


def pytest_collection_modifyitems(items):
    """Put the tests in the order in which processes shall take their files."""

    def rank(item):
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        found = [at for at, name in enumerate(LONG_FIRST) if path.startswith(name)]
        return found[0] if found else len(LONG_FIRST)

    items.sort(key=rank)
