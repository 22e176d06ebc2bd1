"""What can be wrong with a phantom spine: records, how they change shapes, and what an image can show of them."""
