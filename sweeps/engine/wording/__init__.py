"""Sentences about a study: its answer, tables and analyses in words."""
