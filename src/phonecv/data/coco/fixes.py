"""What to do about whatever an audit finds in COCO data."""

from __future__ import annotations

from phonecv.data.coco.conventions import setting
from phonecv.data.findings import FIXES

#: Kind of finding -> what to do about it.
COCO_FIXES = FIXES | {
    "record": "mend the record; as it is, the file can't be used",
    "missing-file": "add the picture, remove it from the annotations, or name the right folder",
    "box-layout": "choose the layout that is named, or write boxes as left, top, width, height in pixels",
    "category-shift": "give annotations and categories the same ids; as it is, classes are mistaken",
    "repeated-object": "keep one of them; as it is, no detector can find both",
    "crowd": "nothing, if they are crowds; else write iscrowd 0",
    "area": "nothing; or leave area out, it is made from the mask or box",
    "respelled": "nothing; what can be read in one way only is read",
    "picture-name": "nothing, if it is meant; else write the names of the files",
    "placeholder": "nothing, if it is no class; else annotate some of it",
    "orientation": f"nothing, if boxes were drawn on the pictures as shown; else {setting('stored')}",
    "unsplit": "hold some of it out for validation, or make two files",
    "fitted": "nothing, if that is meant",
    "orphan": "list its picture, or remove the annotation; it is left out",
    "category": "list its category, or remove the annotation; it is left out",
    "bad-box": "mend or remove the annotation; it is left out",
    "empty-box": "mend or remove the annotation; it is left out",
    "outside-box": "mend or remove the annotation; it is left out",
    "clipped-box": "nothing, if the object goes on beyond the border; the part inside is used",
    "bad-mask": "mend or remove the mask; its object is left out where masks are trained",
    "no-mask": "add a mask, or train boxes only; its object is left out where masks are trained",
    "annotation-id": "give every annotation an id of its own",
    "category-name": "give every category a name of its own",
    "picture-size": "write the size of the picture as it is shown, and check its boxes",
    "repeated-file": "list the picture once, unless it shall count twice",
    "background": "nothing, if they are meant as background",
}
