"""Every file of one network, side by side, as `phonecv bench --variants` makes and judges them.

    python benchmarks/variants.py WEIGHTS DATA [--folder DIR]

WEIGHTS is a checkpoint, such as Apple's public MobileOne-S0 (mobileone_s0.pth.tar); DATA are pictures to find ranges on
and to judge by, with labels where there are some. Writes this processor's part of benchmarks/results/variants.json; six
to ten minutes on two quiet cores for MobileOne-S0.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from kinds import kind_here, write_kind
from phonecv.benchmarking.variants import variants

RESULTS = Path(__file__).parent / "results" / "variants.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, help="keep the files here")
    chosen = parser.parse_args()
    kind_here()
    with tempfile.TemporaryDirectory() as place:
        found = variants(chosen.weights, data=chosen.data, out=chosen.folder or place)
    header, rows, _ = found.table()
    part = {
        "command": f"phonecv bench {chosen.weights.name} --variants --data DATA",
        "network": found.model,
        "measure": found.measure,
        "budget": found.budget,
        "threads": found.threads,
        "seconds": round(found.seconds),
        "judged_by": found.judged.replace(str(chosen.data), "DATA"),
        "warnings": list(found.warnings),
        "header": list(header),
        "rows": [list(row) for row in rows],
        "skipped": found.skipped,
    }
    write_kind(RESULTS, {}, part)


if __name__ == "__main__":
    main()
