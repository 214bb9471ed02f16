"""Pictures and data sets: opening files safely, listing a data set, transforms, loading, auditing, embedded samples."""
