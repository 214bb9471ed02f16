"""The layout of detection data."""

from __future__ import annotations

from phonecv.data.coco.audit import COCO_FIXES, audit_coco, has_coco
from phonecv.data.layouts import Layout

LAYOUTS = (Layout("COCO boxes and masks", "detect", has_coco, audit_coco, COCO_FIXES),)
