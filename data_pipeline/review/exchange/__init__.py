"""Files in and out of a review: a run's items and pictures in; verdicts, approvals, sign-offs and the log out."""
