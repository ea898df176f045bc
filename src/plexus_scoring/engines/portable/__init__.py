"""The portable engine: runs Plexus score YAML itself."""
