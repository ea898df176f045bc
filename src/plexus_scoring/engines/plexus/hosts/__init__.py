"""Programs that another interpreter runs: one holds Plexus, one runs TactusScores. They import nothing of ours."""
