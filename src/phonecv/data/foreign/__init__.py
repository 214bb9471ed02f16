"""Annotations as other tools write them: recognised by name, and read as the records of a COCO file."""
