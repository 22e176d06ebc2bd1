"""Other people's questions and grade tables, given as files in their published layouts, as ordinary samples folders.

Convention: nothing is downloaded and nothing of a data set is bundled; a licence is recorded with every question. Rows
that cannot be scored by a rule, or are not about the spine, are dropped with a counted reason.
"""

from bench.importers.read import KINDS, import_questions

__all__ = ["KINDS", "import_questions"]
