"""What a run stands on: nothing here is the algorithm, and no file here is needed to follow it."""
