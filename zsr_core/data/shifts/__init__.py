"""Images that differ from a set's own in a known way: common corruptions, and visual factors."""
