"""SpineBench in other engines: questions written in their layouts, replies read back to the very same scores.

Convention: an engine asks, this project judges. What an engine writes down is read to replies by sample id and becomes
an ordinary predictions folder; nothing of its own scoring is used.
"""

from bench.adapters.engines import FORMATS, export_samples, import_replies

__all__ = ["FORMATS", "export_samples", "import_replies"]
