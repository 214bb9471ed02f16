"""One picture: opened safely, decoded, turned, looked at, brought to numbers."""
