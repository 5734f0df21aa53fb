"""Evidence documents: mark certificates (VMC, CMC) and what has to be true of them. `mark.read_mark` is the way in."""
