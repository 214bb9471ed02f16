"""`phonecv doctor`: what this installation has and lacks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from phonecv.cli.output import say, say_json, say_table
from phonecv.tables import text_table


def doctor(
    *,
    formats: bool = False,
    kernels: bool = False,
    json: bool = False,
    markdown: Annotated[bool, Parameter(show=False)] = False,
) -> int:
    """Check this installation.

    Versions, devices, threads, extras, kernels chosen for this processor, export formats, cache folder.

    The exit status is 1 when something needed is missing or broken; a missing extra alone is not an error.

    For example:

    - `phonecv doctor`
    - `phonecv doctor --json`
    - `phonecv doctor --formats`

    Args:
        formats: Only what `phonecv export` can write, and what each format can hold.
        kernels: Measure anew which kernels are faster on this processor, in a second or two; best with nothing else
            running.
        json: Print JSON, to attach to a report.
        markdown: A Markdown table of the formats, as in docs/deploy.md.
    """
    if formats:
        from phonecv.cli.tables import format_rows

        say_table(format_rows(), json=json, markdown=markdown)
        return 0
    from phonecv.installation import doctor as run

    if kernels:
        import phonecv.models.fusing  # noqa: F401  all that asks for a choice, and says how it is timed
        from phonecv.models.kernels.choices import CHOICES

        for choice in CHOICES.values():
            choice.measure()
    findings = run()
    if json:
        say_json([asdict(finding) for finding in findings])
    else:
        rows = [(item.section, item.name, item.state, item.value) for item in findings]
        say(text_table(("section", "name", "state", "found"), rows))
        # An extra is missed by itself and by every format that needs it; one line mends them all.
        fixes = {item.fix: item for item in reversed(findings) if item.fix}
        for item in reversed(fixes.values()):
            say(f"{item.state}: {item.name}: {item.fix}")
    return int(any(item.state == "broken" for item in findings))
