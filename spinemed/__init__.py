"""The spine itself: vocabulary, geometry, records and tools that every SpineMed application speaks."""

__version__ = "0.1.0"
