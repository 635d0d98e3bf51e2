"""A study on disk: what was asked, planned and finished."""
