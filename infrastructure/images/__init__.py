"""Building images with whatever engine is there, and releasing them. No CDK is needed for it."""
