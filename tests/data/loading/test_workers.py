"""Loader processes without shared memory, killed, or told to stop."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import get_worker_info

from data.loading.test_shared_memory import Numbered, check, keys
from phonecv.data.coco.loading import DetectionBatch, DetectionItem
from phonecv.data.loading import workers
from phonecv.data.loading.loader import Item, SampleKey, make_loader
from phonecv.data.loading.workers import WorkerLost, open_loader, workers_explained


@pytest.fixture(autouse=True)
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_TOLD", [])


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """No room in shared memory, neither for slots nor for tensors."""
    room = namedtuple("room", "f_bavail f_frsize")
    monkeypatch.setattr(os, "statvfs", lambda path: room(10, 4096))

    class Full:
        """torch's pickler where there is no room; the queue has its own."""

        @staticmethod
        def dumps(batch: object) -> bytes:
            raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device")

    monkeypatch.setattr(workers, "ForkingPickler", Full)


@pytest.mark.usefixtures("full")
def test_without_shared_memory_pictures_come_through_the_pipe(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "phonecv"):
        batches: list[Any] = list(make_loader(Numbered(), keys(40, 4), 2))
    for batch in batches:
        check(batch)
    assert [int(batch.labels[0]) for batch in batches] == list(range(0, 40, 4))
    assert caplog.text.count("too little shared memory in /dev/shm") == 1


class Scenes(torch.utils.data.Dataset[DetectionItem]):
    """Pictures of two sizes with as many boxes as their number."""

    def __getitem__(self, key: SampleKey) -> DetectionItem:  # pyrefly: ignore[bad-override-param-name]
        boxes = torch.arange(4.0 * key.index).view(-1, 4)
        targets = {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64)}
        return DetectionItem(
            torch.full((3, 4, 4 + key.index % 2), key.index, dtype=torch.uint8), targets, key.index, ""
        )


@pytest.mark.usefixtures("full")
def test_any_batch_comes_through_the_pipe() -> None:
    loader = open_loader(Scenes(), keys(6, 2), 1, collate=DetectionBatch.of)
    scenes = [(image, target) for batch in loader for image, target in zip(batch.images, batch.targets, strict=True)]
    for number, (image, target) in enumerate(scenes):
        assert image.unique().tolist() == [number]
        assert target["boxes"].flatten().tolist() == list(range(4 * number))


def test_slots_leave_room_for_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    size, room = 1 << 20, namedtuple("room", "f_bavail f_frsize")
    monkeypatch.setattr(os, "statvfs", lambda path: room(size + workers.RESERVE, 1))
    assert workers.shared_storage(size) is not None
    assert workers.shared_storage(size + 1) is None


class Deadly(Numbered):
    """Its third picture is the worker's last."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __getitem__(self, key: SampleKey) -> Item:  # pyrefly: ignore[bad-override-param-name]
        if key.index == 2 and get_worker_info() is not None:
            os.kill(os.getpid(), self.number)
        return super().__getitem__(key)


def test_a_killed_worker_is_one_line() -> None:
    with pytest.raises(WorkerLost) as caught, workers_explained("use less"):
        list(make_loader(Deadly(signal.SIGKILL), keys(8, 2), 1))
    message = str(caught.value)
    assert message == "a loader process was killed (Killed); most likely the machine is out of memory: use less"


def test_a_stop_that_reaches_the_workers_too_is_the_main_processes_business() -> None:
    batches: list[Any] = list(make_loader(Deadly(signal.SIGTERM), keys(8, 2), 1))
    assert [int(batch.labels[0]) for batch in batches] == [0, 2, 4, 6]


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match=r"^something else$"), workers_explained("use less"):
        raise RuntimeError("something else")


SCRIPT = """
from data.loading.test_shared_memory import Numbered, check, keys
from phonecv.data.loading.loader import make_loader
data = Numbered()
data.picture_bytes = 3 * 8 * 8
for count in (1, 4):
    for batch in make_loader(data, keys(240, 60), count, prefetch=4):
        check(batch)
print("read")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts a file system")
def test_a_container_with_little_shared_memory() -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("no mount namespaces here")
    command = 'mount -t tmpfs -o size=128k tmpfs /dev/shm && exec "$0" -c "$1"'
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command, sys.executable, SCRIPT],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.stdout == "read\n", done.stderr
    assert done.stderr.count("too little shared memory") == 1
    assert "Traceback" not in done.stderr
