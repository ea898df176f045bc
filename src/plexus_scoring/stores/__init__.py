"""Where jobs, results, items and scorecards live."""
