"""Every module can be imported the way Python writes it, and no module hides a public function or is hidden by one."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import phonecv

#: Started as programs, not imported.
PROGRAMS = {"phonecv.__main__"}
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(phonecv.__path__, "phonecv.") if module.name not in PROGRAMS
)


def test_import_as_reaches_every_module_after_the_functions_were_used() -> None:
    """`import a.b.c as m` walks attributes: a function of the name `b` in its way breaks it."""
    for name in phonecv.__all__:
        assert not isinstance(getattr(phonecv, name), ModuleType), name
    for module in (name for name in MODULES if name.count(".") < 3):  # the others import the toolkits of one format
        found: dict[str, object] = {}
        exec(f"import {module} as m", found)
        assert isinstance(found["m"], ModuleType), module
        assert found["m"].__name__ == module
    assert not any(isinstance(getattr(phonecv, name), ModuleType) for name in phonecv.__all__)


@pytest.mark.long  # no module is named like a function, which is tested below
@pytest.mark.parametrize("module", ["phonecv.training.config", "phonecv.exporting.formats", "phonecv.models.fusing"])
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
