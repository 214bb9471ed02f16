"""`phonecv doctor`: what this installation has and lacks."""

from __future__ import annotations

from dataclasses import asdict

from phonecv.cli.output import say, say_json, text_table


def doctor(*, json: bool = False) -> int:
    """Check this installation.

    Versions, devices, threads, extras, export formats, cache folder.

    The exit status is 1 when something needed is missing or broken; a missing extra alone is not an error.

    For example:

    - `phonecv doctor`
    - `phonecv doctor --json`

    Args:
        json: Print JSON, to attach to a report.
    """
    from phonecv.doctor import examine

    findings = examine()
    if json:
        say_json([asdict(finding) for finding in findings])
    else:
        rows = [(item.section, item.name, item.state, item.value) for item in findings]
        say(text_table(("section", "name", "state", "found"), rows))
        for item in findings:
            if item.fix:
                say(f"{item.state}: {item.name}: {item.fix}")
    return int(any(item.state == "broken" for item in findings))
