"""Pictures in tar files, as WebDataset keeps them: read at any place, so that order, resuming and counts are exact."""
