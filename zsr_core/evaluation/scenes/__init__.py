"""Zero-shot detection by crops as a part of an evaluation: what is asked for, how it is kept and measured."""
