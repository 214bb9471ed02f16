"""Classification: the label of a picture."""
