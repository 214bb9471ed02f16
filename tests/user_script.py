"""A script as a person writes it, for type checkers: never run. What they do not know, or wave through, fails."""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import torch
from torch import Tensor

import phonecv
from phonecv.classify.config import AugmentConfig, ClassifyConfig
from phonecv.classify.result import ClassificationResult
from phonecv.detect.predict import PictureDetections
from phonecv.detect.result import DetectionResult
from phonecv.generation.generate import Samples
from phonecv.generation.result import GenerationResult
from phonecv.quantization import QuantizeResult
from phonecv.segment.predict import PictureClassMap
from phonecv.segment.result import SegmentationResult
from phonecv.training import RunResult, load_config
from phonecv.video.result import VideoResult
from phonecv.whole.predict import PictureClasses

pictures = torch.rand(2, 3, 224, 224)

phonecv.creat_model("emo_1m")  # type: ignore[attr-defined]
phonecv.create_model(1)  # type: ignore[call-overload]

model = phonecv.create_model("emo_1m", num_classes=10)
assert_type(model(pictures), Tensor)
assert_type(phonecv.fuse(model)(pictures), Tensor)
maps = phonecv.create_model("mobileone_s0", out_indices=(1, 2, 3, 4))(pictures)
assert_type(maps, list[Tensor])

detector = phonecv.create_detector("ssdlite320", "emo_1m", num_classes=3)
assert_type(detector.eval()(pictures), list[dict[str, Tensor]])
segmenter = phonecv.create_segmenter("segformer", "emo_1m", num_classes=3)
assert_type(segmenter.eval()(pictures), Tensor)

assert_type(phonecv.evaluate(model, "photos"), ClassificationResult)
assert_type(phonecv.evaluate(detector, "cells"), DetectionResult)
assert_type(phonecv.evaluate(segmenter, "streets"), SegmentationResult)
generator = phonecv.create_generator("d_emov2_s")
assert_type(phonecv.generate(generator, classes="3,7"), Samples)
assert_type(phonecv.evaluate(generator, "digits", features="reader.safetensors"), GenerationResult)
assert_type(phonecv.predict(model, "photos"), list[PictureClasses])
clips = phonecv.create_video_classifier("v_emov2_1m", num_classes=4)
assert_type(phonecv.evaluate(clips, "moving"), VideoResult)
assert_type(phonecv.predict(clips, "walk.mp4"), list[PictureClasses])
assert_type(phonecv.predict(detector, "cells"), list[PictureDetections])
assert_type(phonecv.predict(segmenter, "streets"), list[PictureClassMap])
phonecv.evaluate(model)  # type: ignore[call-overload]
phonecv.predict(model, "photos", topk=3, batch_size=8, out="found")
phonecv.predict(model, "photos", topk=3, threshold=0.5)
phonecv.predict(model, "photos", camera="0")  # type: ignore[call-overload]
phonecv.predict(detector, "cells", threshold=0.5)
phonecv.evaluate(segmenter, "streets", topk=3)  # type: ignore[call-overload]
for prediction in phonecv.predict("best.safetensors", "photos", ema=True):
    assert_type(prediction.path, Path)
    assert_type(prediction.error, str)
judged = phonecv.evaluate("best.safetensors", "photos", split="test")
assert_type(judged.count, int)
assert_type(judged.summary(), dict[str, Any])
print(judged.top1)  # its task's

assert_type(phonecv.save_checkpoint(model, "model.safetensors"), Path)
assert_type(phonecv.train(load_config("finetune")), RunResult)
assert_type(load_config("finetune", kind=ClassifyConfig).augment, AugmentConfig)
phonecv.train("finetune")  # type: ignore[arg-type]

print(phonecv.export(model, "model.onnx").path.name)
print(phonecv.export(model, "model.onnx", size=256, precision="fp16").operators + 1)
phonecv.export(model, "model.onnx", sise=256)  # type: ignore[call-arg]
phonecv.export(model, "model.onnx", size="256")  # type: ignore[arg-type]
print(phonecv.bundle(model, "app.zip", formats=["onnx"], bake=True).licence.upper())
print(phonecv.bench(["emo_1m"], batches=[1], memory=False).baseline.upper())
assert_type(phonecv.quantize(model, "phone", formats=["onnx"], data="photos"), QuantizeResult)
phonecv.quantize(model, "phone", formats=["onnx"])  # type: ignore[call-arg]
print(phonecv.convert("net.pth", "net.safetensors").model.upper())
print(phonecv.audit("photos").errors, phonecv.info("emo_1m").remark.upper())
