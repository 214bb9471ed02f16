"""The classifiers of clips in a table, with the one published figure; tests recompute the counts."""

from __future__ import annotations

from phonecv.tables import Table, figure

#: Name -> parameters with 400 classes, multiply-adds of four frames of 160 px, published top-1 on Kinetics-400.
CLASSIFIERS: dict[str, tuple[int, int, float | None]] = {
    "v_emov2_1m": (1_772_996, 413_161_400, None),
    "v_emov2_2m": (2_864_864, 674_961_600, None),
    "v_emov2_5m": (5_983_568, 1_352_422_400, 65.2),
    "v_emov2_20m": (22_334_512, 4_689_356_800, None),
    "v_emov2_50m": (54_438_064, 10_123_008_000, None),
}


def heads_rows() -> Table:
    """One row per member."""
    rows = [
        (name, name.removeprefix("v_"), f"{parameters / 1e6:.2f}", figure(macs / 1e9, 2), figure(top1, 1))
        for name, (parameters, macs, top1) in CLASSIFIERS.items()
    ]
    return ("network", "of", "params M", "GMACs", "top-1 %"), rows, (2, 3, 4)


def recipe_for(name: str) -> str:
    """See `phonecv.models.names.PublishedRoom`."""
    return f"clips model.name={name.removeprefix('v_')}"
