"""The score language: pydantic models of the YAML that analysts write."""
