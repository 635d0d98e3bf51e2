"""The console script ``zsr``."""
