"""Drawing: style, and one file per family of figures."""
