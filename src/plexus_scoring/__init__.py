"""Asynchronous scoring service for Plexus scorecards."""
