"""The project of the quick start."""
