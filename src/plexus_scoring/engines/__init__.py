"""How a score gets its value."""
