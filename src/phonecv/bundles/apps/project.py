"""Writing the files of a project from a folder of templates; texts are escaped as each kind of file wants it."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Set
from importlib.resources.abc import Traversable
from pathlib import Path

from PIL import Image, ImageDraw

from phonecv.bundles.languages import LANGUAGES
from phonecv.bundles.templating import filled
from phonecv.files import write_text
from phonecv.text import printable


def _resource(text: str) -> str:
    """For a string resource of Android."""
    escaped = html.escape(text.replace("\\", "\\\\"), quote=False).replace("'", "\\'").replace('"', '\\"')
    return "\\" + escaped if text[:1] in ("@", "?") else escaped


def _property(text: str) -> str:
    """For a text in quotation marks in a project of Xcode."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


#: Suffix of a file -> how a free text is written in it.
ESCAPES: Mapping[str, Callable[[str], str]] = {
    ".html": html.escape,
    ".xml": _resource,
    ".pbxproj": _property,
    ".md": lambda text: printable(text).replace("<", "&lt;"),
    ".kts": lambda text: LANGUAGES["Kotlin"].string(text)[1:-1],
    ".kt": lambda text: LANGUAGES["Kotlin"].string(text)[1:-1],
    ".swift": lambda text: LANGUAGES["Swift"].string(text)[1:-1],
}


def write_project(
    templates: Traversable,
    folder: Path,
    texts: Mapping[str, str],
    values: Mapping[str, str],
    leave: Set[str] = frozenset(),
) -> None:
    """Fill a folder of templates into another.

    Args:
        templates: its names stand for themselves, in folders too.
        folder: is made.
        texts: of people, escaped in each file as its kind needs it.
        values: as they are.
        leave: names that are not written.
    """
    for template in templates.iterdir():
        if template.name in leave or template.name == "__pycache__" or template.name.endswith(".py"):
            continue
        if template.is_dir():
            write_project(template, folder / template.name, texts, values, leave)
            continue
        escape = ESCAPES.get(Path(template.name).suffix, str)
        own = {key: escape(text) for key, text in texts.items()}
        write_text(folder / template.name, filled(template, {**own, **values}))


def icon(side: int, *, rounded: bool = True) -> Image.Image:
    """A view finder: four corners and a lens; with corners of its own for systems that cut none."""
    large = 4 * side  # made smaller afterwards, which smooths edges
    image = Image.new("RGB" if not rounded else "RGBA", (large, large))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((0, 0, large - 1, large - 1), radius=large // 5 if rounded else 0, fill="#0a6b52")
    near, far, length, width = large * 0.26, large * 0.74, large * 0.14, large // 20
    for x, along in ((near, length), (far, -length)):
        for y, down in ((near, length), (far, -length)):
            draw.line((x + along, y, x, y, x, y + down), fill="white", width=width, joint="curve")
    centre, radius = large / 2, large * 0.09
    draw.ellipse((centre - radius, centre - radius, centre + radius, centre + radius), fill="white")
    return image.resize((side, side), Image.Resampling.LANCZOS)
