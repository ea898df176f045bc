"""What the words mean: items, scorecards, jobs, results, messages, errors. No I/O."""
