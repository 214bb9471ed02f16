"""What a person should know about a data set but can live with, or not train with."""

from __future__ import annotations


class Problem(str):
    """A line for people.

    Attributes:
        kind: a key of the layout's table of fixes.
        severity: "error" (a training refuses it), "warning", or "note".
    """

    kind: str
    severity: str

    def __new__(cls, text: str, kind: str = "left-out", severity: str = "warning") -> Problem:
        """See the class."""
        problem = super().__new__(cls, text)
        problem.kind, problem.severity = kind, severity
        return problem
