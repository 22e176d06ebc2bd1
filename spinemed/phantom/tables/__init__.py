"""Published sizes, alignment and density of the human spine, each number with its source and its mark."""
