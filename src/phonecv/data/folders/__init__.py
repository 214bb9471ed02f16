"""Classification data: class folders and list files, their classes, audit and transforms."""
