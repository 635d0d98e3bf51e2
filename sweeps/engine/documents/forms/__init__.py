"""A matrix in five forms."""
