"""One trial: its configuration, its result, and how it is run."""
