"""The command line: one small file per verb that parses, calls and prints.

Nothing here imports torch before a verb runs, so help is there at once.
"""

from phonecv.cli.app import main

__all__ = ["main"]
