"""The console script ``zsr``: ``main`` reads the command line, and each command has a file of its own.

A command's file imports nothing heavy at its top, because the help texts of all commands are built from it. What a
command needs to run (torch, pyarrow, matplotlib, mlflow) is imported in its ``run``.
"""
