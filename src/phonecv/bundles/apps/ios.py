"""An app for iPhones: a project of Xcode in Swift, with SwiftUI and Core ML."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

from phonecv.bundles.apps.plan import Plan
from phonecv.bundles.apps.project import icon, write_project
from phonecv.bundles.languages import LANGUAGES
from phonecv.bundles.records import channels_first, input_of, takes_picture
from phonecv.files import write_json, write_text


def write(plan: Plan, folder: Path) -> None:
    """See `phonecv.bundles.apps.table.Platform`."""
    language, taken = LANGUAGES["Swift"], input_of(plan.record)
    height, width = plan.record["input_size"]
    pictured = takes_picture(plan.record)
    channels = len(plan.record["preprocessing"]["mean"])
    first = pictured or channels_first(plan.record)
    shape = (1, channels, height, width) if first else (1, height, width, channels)
    values = {
        "ID": plan.id,
        "INPUT": language.string(taken["name"])[1:-1],
        "OUTPUTS": ", ".join(map(language.string, plan.record["outputs"])),
        "PICTURE": "true" if pictured else "false",
        "SHAPE": ", ".join(map(str, shape)),
    }
    texts = {"TITLE": plan.name, "ABOUT": plan.about}
    write_project(files("phonecv.bundles.apps") / "ios_files", folder, texts, values)
    place = folder / "PhonecvApp"
    for name, text in (plan.readers | plan.answers).items():
        if name.endswith(".swift"):
            write_text(place / name, text)
    (shutil.copytree if plan.model.is_dir() else shutil.copyfile)(plan.model, place / "model.mlpackage")
    shutil.copyfile(plan.picture, place / "test.png")
    write_text(place / "labels.txt", "".join(f"{' '.join(name.split())}\n" for name in plan.names))
    write_json(place / "expected.json", plan.expected)
    icon(1024, rounded=False).save(place / "Assets.xcassets/AppIcon.appiconset/icon.png")
