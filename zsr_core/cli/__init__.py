"""``python -m zsr_core train | evaluate``."""
