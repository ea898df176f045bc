"""Runs Plexus itself (github.com/AnthusAI/Plexus), and the Lua of its TactusScores, in processes of their own."""
