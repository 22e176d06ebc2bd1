"""Reports in six parts, scored by their facts without a judge.

Open first: `reading.py` (a text to claims), then `matching.py` (claims against facts) and `scoring.py` (points).
"""

from bench.reports.cases import reference_report, report_samples, write_reports
from bench.reports.dimensions import dimension_total, section_means
from bench.reports.matching import Matched, match_claims
from bench.reports.reading import Claim, read_report
from bench.reports.scoring import ReportRead, derive_rubric, rubric_score, score_report, unsafe_advice
from bench.reports.summary import score_reports

__all__ = [
    "Claim",
    "Matched",
    "ReportRead",
    "derive_rubric",
    "dimension_total",
    "match_claims",
    "read_report",
    "reference_report",
    "report_samples",
    "rubric_score",
    "score_report",
    "score_reports",
    "section_means",
    "unsafe_advice",
    "write_reports",
]
