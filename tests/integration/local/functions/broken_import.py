"""Needs a package that nobody has."""

import no_such_package_anywhere  # noqa: F401 - that it is missing is the point
