"""Its classes of scores."""
