"""The evaluation loop a person would write: timm's network, torchvision's transforms and folder, a loader.

    python benchmarks/plain_evaluation.py CHECKPOINT FOLDER CLASSES

CHECKPOINT is MobileOne-S0 in deploy form with Apple's names; FOLDER holds a folder of pictures per WordNet id; CLASSES
has a line `index id name` per class of the network. Nothing of phonecv is used: this is what `benchmarks/evaluation.py`
compares with.
"""

from __future__ import annotations

import json
import sys

import timm
import torch
from timm.utils.model import reparameterize_model
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


def main(checkpoint: str, folder: str, classes: str) -> None:
    """Count the right answers."""
    model = reparameterize_model(timm.create_model("mobileone_s0").eval())
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)
    # Both list the same tensors in the same order, under other names.
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    transform = transforms.Compose(
        [
            transforms.Resize(256, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    data = datasets.ImageFolder(folder, transform)
    with open(classes, encoding="utf-8") as file:  # noqa: PTH123
        index = {line.split()[1]: int(line.split()[0]) for line in file}
    output = torch.tensor([index[name] for name in data.classes])
    top1 = top5 = 0
    with torch.no_grad():
        for images, labels in DataLoader(data, batch_size=64, num_workers=2):
            guesses = model(images).topk(5).indices
            right = guesses == output[labels][:, None]
            top1 += int(right[:, 0].sum())
            top5 += int(right.any(1).sum())
    print(json.dumps({"count": len(data), "top1": top1, "top5": top5}))


if __name__ == "__main__":
    main(*sys.argv[1:])
