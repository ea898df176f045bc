"""What differs between deployments, typed and checked."""
