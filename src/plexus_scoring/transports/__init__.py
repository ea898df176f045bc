"""How requests come in and responses go out."""
