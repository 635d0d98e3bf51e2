"""Fine-tuning: the loop, its checkpoints, the frozen teacher's cached features."""
