"""What is measured on a study after its trials: attention maps, detection by crops, further metrics."""
