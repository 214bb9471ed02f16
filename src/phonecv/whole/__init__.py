"""What the tasks share that say one thing of a whole picture or clip: its class."""
