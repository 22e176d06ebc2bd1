"""Spines in three dimensions: the record, how it is drawn, and where its vertebrae stand in a posture."""
