"""Every module can be imported the way Python writes it, and no module hides a public function or is hidden by one."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import phonecv
from conftest import mostly_long

#: Started as programs, not imported.
PROGRAMS = {"phonecv.__main__"}
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(phonecv.__path__, "phonecv.") if module.name not in PROGRAMS
)


def test_import_as_reaches_every_module_after_the_functions_were_used() -> None:
    """`import a.b.c as m` walks attributes: a function of the name `b` in its way breaks it."""
    lines = ["import phonecv, types", *(f"phonecv.{name}" for name in phonecv.__all__)]
    for module in (name for name in MODULES if name.count(".") < 3):  # the others import the toolkits of one format
        lines += [f"import {module} as m", f"assert isinstance(m, types.ModuleType) and m.__name__ == {module!r}"]
    lines += [f"assert not isinstance(phonecv.{name}, types.ModuleType), {name!r}" for name in phonecv.__all__]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    "module",
    mostly_long(
        ["phonecv.training.config", "phonecv.exporting.formats", "phonecv.models.fusing"], "phonecv.training.config"
    ),
)
def test_a_first_import_of_a_submodule_leaves_the_function(module: str) -> None:
    line = (
        f"import {module} as m; import phonecv as p; assert callable(p.train) and callable(p.fuse); print(m.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True)
    assert done.stdout.split() == [module], done.stderr[-2000:]


def test_the_import_and_the_help_leave_torch_alone() -> None:
    lines = "import sys, phonecv, phonecv.cli.app; print(*sorted({'torch', 'timm', 'numpy', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr[-2000:]) == ("", "")


def test_no_module_is_named_like_a_public_name() -> None:
    names = {module.split(".")[1] for module in MODULES}
    assert names.isdisjoint(phonecv.__all__)
