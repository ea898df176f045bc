"""The Lambda functions: one folder a function, each a thin handler."""
