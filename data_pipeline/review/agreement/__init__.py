"""Agreement dashboard: how far reviewers agree, how far they are, how long they take."""
