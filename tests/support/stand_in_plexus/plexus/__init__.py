"""A stand-in for Plexus."""
