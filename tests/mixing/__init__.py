"""A task of which only the file is there: networks that take several named tensors, or clips."""
