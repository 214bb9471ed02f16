"""What detectors and segmenters share: a backbone's feature maps, pictures of any size, and the model's contract."""
