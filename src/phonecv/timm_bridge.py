"""Our networks as timm models.

After ``import phonecv``, ``timm.create_model("emov2_5m")`` and whatever builds on timm encoders (also
``features_only=True``) work. Plain names of MobileOne stay timm's own there. timm takes seconds to import, so the names
are registered when the person imports it, not before: `install` sees to that.

Ours always have the names ``phonecv_emo_1m``, ``phonecv_mobileone_s0`` etc. A timm that brings networks of its own
under other plain names keeps them, so that nobody's code gets another network than it asks for; that is told once,
with the names of ours.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from phonecv.errors import UserError
from phonecv.text import some_names

#: In front of our names in timm, where no network of timm's own can be meant.
PREFIX = "phonecv_"

_log = logging.getLogger("phonecv")


def install() -> None:
    """Register now if timm is imported already, else as soon as it is. Twice does no harm."""
    if "timm" in sys.modules:
        register()
    elif not any(isinstance(finder, _AfterTimm) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterTimm())


def register() -> None:
    """Register every name with timm, those apart that it has networks of its own for."""
    from phonecv.models.catalog import MODELS  # late: brings torch, which `import phonecv` leaves alone

    registry = importlib.import_module("timm.models")
    theirs = []
    for name, record in MODELS.items():
        for alias in (f"{PREFIX}{name}",) if record.family == "mobileone" else (name, f"{PREFIX}{name}"):
            if not registry.is_model(alias):
                registry.register_model(_entrypoint(name, alias))
            elif registry.model_entrypoint(alias).__module__ != __name__:
                theirs.append(alias)
    # Our own command asks timm for none of these names.
    if theirs and "phonecv.cli" not in sys.modules:
        _log.warning(
            "timm has networks of its own called %s; they stay timm's there. Ours are called %s%s and so on in timm; "
            "phonecv.create_model always means ours, and phonecv.load_checkpoint reads files of theirs",
            some_names(theirs, 3),
            PREFIX,
            theirs[0],
        )


def _entrypoint(name: str, alias: str) -> Callable[..., Any]:
    def build(
        pretrained: bool = False,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: Any = None,
        cache_dir: Any = None,
        features_only: bool = False,
        out_indices: Sequence[int] | int | None = None,
        drop_path_rate: float | None = None,
        output_stride: int = 32,
        **overrides: Any,
    ) -> Any:
        from phonecv.create import create_model

        if output_stride != 32:
            raise UserError(f"output_stride {output_stride} is not offered by {name}; it is always 32")
        if drop_path_rate is not None:
            overrides["drop_path"] = drop_path_rate
        file = (pretrained_cfg_overlay or {}).get("file")
        model = create_model(name, weights=(file or "official") if pretrained else None, **overrides)
        if not features_only:
            return model
        features = importlib.import_module("timm.models._features")
        return features.FeatureGetterNet(model, out_indices=(0, 1, 2, 3, 4) if out_indices is None else out_indices)

    build.__name__ = build.__qualname__ = alias
    build.__doc__ = f"{name} of phonecv."
    # timm files a model under the module its function says it is from.
    build.__module__ = __name__
    return build


def defer(package: str) -> None:
    """Let an installed package be imported when something of it is asked for, whoever says ``import`` before."""
    if package not in sys.modules and (spec := importlib.util.find_spec(package)) is not None:
        sys.modules[package] = module = importlib.util.module_from_spec(spec)
        vars(module).pop("__path__", None)  # asked for by the import of a part, which needs the whole
        module.__class__ = _Deferred


class _Deferred(ModuleType):
    """A module that is executed at the first look at what it lacks. `importlib.util.LazyLoader` does not do: it takes
    the look at ``__file__`` that `inspect` takes at every module, as PyTorch has it do."""

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        assert spec is not None
        assert spec.loader is not None
        self.__class__ = ModuleType  # pyrefly: ignore
        if spec.submodule_search_locations is not None:
            self.__path__ = spec.submodule_search_locations
        try:
            spec.loader.exec_module(self)
        except BaseException:
            del sys.modules[self.__name__]
            raise
        return getattr(self, name)


class _AfterTimm(MetaPathFinder):
    """Lets the import of timm go its way, and registers our names at its end."""

    def __init__(self) -> None:
        self.asking_others = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The ordinary spec of timm, with a loader that registers afterwards."""
        if fullname != "timm" or self.asking_others:
            return None
        self.asking_others = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self.asking_others = False
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader)
        return spec


class _RegisteringLoader(Loader):
    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if "phonecv.cli" in sys.modules:  # in a person's own program it is imported as they have it
            defer("wandb")  # timm imports it for a log of its own script, and it takes longer than the rest of timm
        self.loader.exec_module(module)
        register()

    def __getattr__(self, name: str) -> Any:
        # Resources and source of timm's package files are asked of its loader.
        return getattr(self.loader, name)
