"""What to do about whatever an audit finds in label maps."""

from __future__ import annotations

from phonecv.data.findings import FIXES

#: The setting by which label maps of turned pictures lie as stored, as a recipe has it.
STORED = "segment.stored=true"

#: Kind of finding -> what to do about it.
MAP_FIXES = FIXES | {
    "partner": "add the missing file, or remove the one that is left over",
    "label-format": "save label maps as gray or palette PNG of class numbers, or name their colours in classes.csv",
    "label-colour": "name the colour in the class file, or draw the label map anew without smoothing, as PNG",
    "palette": "give all label maps one palette, or name the colours in classes.csv (name,r,g,b)",
    "reading": "nothing, if that is meant",
    "turned": f"nothing, if that is meant; else {STORED}, or remove the EXIF note from the pictures",
    "label-size": "make the label map anew at the size of its picture (nearest neighbour)",
    "label-value": "mend the label map, or name all classes in the class file",
    "anti-aliased": "draw and resize label maps without smoothing (nearest neighbour), and save them as PNG",
    "off-by-one": "choose reduce_zero_label accordingly, or renumber the label maps",
    "zero-label": "choose reduce_zero_label accordingly",
    "unlabelled": "nothing, if that is meant; such pictures teach nothing",
    "unseen-class": "add pictures with these classes, or leave them out of the class file",
}
