"""COCO-format data: annotations of any quality, brought to the pictures, audited, transformed, loaded."""
