"""Logs, metrics, traces: one list of names, several sinks."""
