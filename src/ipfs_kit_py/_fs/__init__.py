"""What the fsspec filesystem is made of: paths, errors, the node behind it, listings, files, and what changes them."""
