"""Vertebrae one by one: straightened, compared with what they should be, and graded."""
