from __future__ import annotations

from phonecv.options import VerbOptions

OPTIONS: dict[str, type[VerbOptions]] = {}
RESULTS: dict[str, str] = {}
