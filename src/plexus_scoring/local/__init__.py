"""Embedded AWS, the local Lambda runtime and the demo."""
