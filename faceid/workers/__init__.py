"""Work shared out among several workers: processes of this machine, or Ray's of many."""
