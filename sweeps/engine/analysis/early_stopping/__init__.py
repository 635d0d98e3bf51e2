"""Early stopping: whether a trial at a rung is worse than another by more than the noise."""
