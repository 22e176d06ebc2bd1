"""Images of a phantom spine: the grid, the tissues on it, CT in Hounsfield units, and folders in VerSe's layout."""
