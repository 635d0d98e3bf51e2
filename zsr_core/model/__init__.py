"""The model: how it is loaded, its towers, its weights."""
