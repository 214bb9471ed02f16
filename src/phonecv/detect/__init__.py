"""Detectors on any backbone: SSDLite, RetinaNet and Mask R-CNN, from anchors to final boxes.

Nothing is imported here: the tables `phonecv.detect.architectures` and `phonecv.detect.published` need no torch.
"""
