"""``python -m phonecv.torchrun``: torchrun, whose failures are as short as those of the command it starts.

It takes torchrun's arguments: ``python -m phonecv.torchrun --nproc-per-node 8 -m phonecv train emov2_224 ...``.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence

#: The status with which the command has said already what to mend.
MISTAKE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run torchrun; the exit status is that of the process that failed first, or 0."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    # What it logs there about a process that failed is told below, or by that process.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    # That it sets OMP_NUM_THREADS to 1 is nothing to act on: every process here chooses its own threads.
    logging.getLogger("torch.distributed.run").setLevel(logging.ERROR)
    try:
        torchrun(list(sys.argv[1:] if argv is None else argv))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        status = int(failure.exitcode)
        if status < 0:
            print(f"phonecv: process {rank} was ended by {signal.Signals(-status).name}", file=sys.stderr)
            return 128 - status
        if status not in (MISTAKE, 130, 143):
            print(f"phonecv: process {rank} ended with status {status}; its own words stand above", file=sys.stderr)
        return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
