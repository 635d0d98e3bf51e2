"""The papers' tables, made again: a sweep for each, on a machine that holds their data."""
