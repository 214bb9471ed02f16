"""Semantic segmentation on any backbone: DeepLabv3, PSPNet, Semantic FPN, SegFormer and UNet.

Nothing is imported here: the tables `phonecv.segment.architectures` and `phonecv.segment.published` need no torch.
"""
