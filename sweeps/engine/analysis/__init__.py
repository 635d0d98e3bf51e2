"""Pure functions of a study: scores, choice, differences, surfaces, sensitivity."""
