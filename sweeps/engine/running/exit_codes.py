"""The exit codes of sweep scripts and of ``zsr``."""

DONE = 0  # all planned trials are done
INCOMPLETE = 1  # a planned trial is missing or failed, or a table or figure could not be made
BAD_INPUT = 2  # the input cannot be used, and nothing was started
INTERRUPTED = 130  # stopped by Ctrl-C or SIGTERM
