"""Many short texts or blobs in little memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np


class ByteTable:
    """Rows of bytes in one piece.

    A million Python objects take several times their content, and every worker process would copy them page by page as
    their reference counts change.
    """

    def __init__(self, rows: Iterable[bytes]) -> None:
        content, ends = bytearray(), array("q")
        for row in rows:
            content += row
            ends.append(len(content))
        self._content = np.frombuffer(content, dtype=np.uint8)
        self._ends = np.frombuffer(ends, dtype=np.int64)

    @classmethod
    def of(cls, content: np.ndarray, ends: np.ndarray) -> ByteTable:
        """A table from its `arrays`."""
        table = cls(())
        table._content, table._ends = content, ends
        return table

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Its content, uint8, and where each row ends, int64."""
        return self._content, self._ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, row: int) -> bytes:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        start = int(self._ends[row - 1]) if row else 0
        return self._content[start : int(self._ends[row])].tobytes()

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        return self._content.nbytes + self._ends.nbytes
