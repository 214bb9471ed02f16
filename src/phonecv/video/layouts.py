"""The layouts of data sets of clips."""

from __future__ import annotations

from phonecv.data.clips.audit import CLIP_FIXES, audit_clips
from phonecv.data.clips.listing import has_clip_folders, has_clip_lists, surely_clips
from phonecv.data.findings import FIXES
from phonecv.data.layouts import Layout

LAYOUTS = (
    Layout("lists of clips", "video", has_clip_lists, audit_clips, FIXES | CLIP_FIXES),
    Layout("class folders of clips", "video", has_clip_folders, audit_clips, FIXES | CLIP_FIXES, surely=surely_clips),
)
