"""Where submitted code runs: on this machine, kept apart, or at E2B."""
