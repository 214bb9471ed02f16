"""`phonecv models`: the catalog."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from phonecv.cli.output import say, say_json, say_table


def models(
    pattern: str = "*",
    *,
    weights: bool = False,
    heads: str | None = None,
    json: bool = False,
    markdown: Annotated[bool, Parameter(show=False)] = False,
    brief: Annotated[bool, Parameter(show=False)] = False,
) -> None:
    """List the networks: size, cost, published accuracy, licence.

    MACs are of the deployed network at the input size given; top-1 is the published ImageNet-1k figure of the
    first weight file.

    For example:

    - `phonecv models`
    - `phonecv models "emov2_*"`
    - `phonecv models mobileone --weights`
    - `phonecv models --heads detect`

    Args:
        pattern: Shell-style pattern, or part of a name.
        weights: One row per public weight file instead of one per network.
        heads: Of a task, the heads with their published rows, instead of networks: `detect`, `segment` or `generate`.
        json: Everything the catalog knows, as JSON.
        markdown: A Markdown table, as in docs/models.md.
        brief: Only networks with public weights, and only numbers, as in the README.
    """
    from phonecv.cli.tables import heads_rows, model_rows, select, weight_rows

    if heads is not None:
        say_table(heads_rows(heads), json=json, markdown=markdown)
        return
    records = [record for record in select(pattern) if record.weights or not brief]
    if json:
        say_json([asdict(record) for record in records])
        return
    header, rows, right = weight_rows(records) if weights else model_rows(records)
    if brief:
        numbers = header.index("weights")
        header, rows = header[:numbers], [row[:numbers] for row in rows]
    say_table((header, rows, right), markdown=markdown)
    if not markdown:
        say(f"\n{len(rows)} {'weight files' if weights else 'networks'}; `phonecv info NAME` takes one apart")
