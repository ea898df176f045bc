"""The package ``rapidfuzz``: its module `fuzz`."""
