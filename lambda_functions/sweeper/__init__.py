"""Puts stranded jobs back on the request queue, on a schedule."""
