"""An app for Android: a project of Gradle in Kotlin, with CameraX and LiteRT."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

from phonecv.bundles.apps.plan import Plan
from phonecv.bundles.apps.project import icon, write_project
from phonecv.bundles.languages import LANGUAGES
from phonecv.bundles.records import input_of
from phonecv.files import write_json, write_text

#: Folder of resources -> side of the icon for screens of that density, pixels.
_ICONS = {"mipmap-hdpi": 72, "mipmap-xhdpi": 96, "mipmap-xxhdpi": 144, "mipmap-xxxhdpi": 192}


def write(plan: Plan, folder: Path) -> None:
    """See `phonecv.bundles.apps.table.Platform`."""
    templates = files("phonecv.bundles.apps") / "android_files"
    language = LANGUAGES["Kotlin"]
    values = {
        "ID": plan.id,
        "WORD": plan.id.rpartition(".")[2],
        "INPUT": language.string(input_of(plan.record)["name"])[1:-1],
        "OUTPUTS": ", ".join(map(language.string, plan.record["outputs"])),
    }
    texts = {"TITLE": plan.name, "ABOUT": plan.about}
    main = folder / "app/src/main"
    sources = main / "kotlin" / plan.id.replace(".", "/")
    write_project(templates, folder, texts, values, {"kotlin"})
    write_project(templates / "kotlin", sources, texts, values)
    for name, text in (plan.readers | plan.answers).items():
        if name.endswith(".kt"):
            write_text(sources / name, f"package {plan.id}\n\n{text}")
    assets = main / "assets"
    assets.mkdir()
    shutil.copyfile(plan.model, assets / "model.tflite")
    shutil.copyfile(plan.picture, assets / "test.png")
    write_text(assets / "labels.txt", "".join(f"{' '.join(name.split())}\n" for name in plan.names))
    write_json(assets / "expected.json", plan.expected)
    for name, side in _ICONS.items():
        (main / "res" / name).mkdir()
        icon(side).save(main / "res" / name / "ic_launcher.png")
