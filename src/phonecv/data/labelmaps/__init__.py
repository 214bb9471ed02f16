"""Pictures with label maps: files, classes, audit, transforms, loading."""
