"""Where submitted code runs."""
