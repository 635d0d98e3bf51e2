"""The papers' numbers beside a study's: number by number, as surfaces, and as orders of methods."""
