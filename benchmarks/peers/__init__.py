"""The same work for every queue: one no-op score, one PostgreSQL transaction, one confirmed response."""
