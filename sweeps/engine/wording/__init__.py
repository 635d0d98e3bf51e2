"""What is said of a study, in sentences."""
