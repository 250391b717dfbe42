"""The typed, versioned records that the steps of a release exchange and MLflow keeps.

Every record is one JSON file. Times are seconds unless the name says `_ms`; sizes are bytes.
"""

from modelport.reports.base import SCHEMA_VERSION, Record, Report, Subject
from modelport.reports.benchmark import Benchmark, Candidate, Footprint, Latency, RuntimeSettings
from modelport.reports.certificate import Certificate, WorstRow
from modelport.reports.conversion import Column, Conversion, Resolution, Tensor
from modelport.reports.explanation import Explanation, Feature
from modelport.reports.release import (
    Deployment,
    Dossier,
    Evaluation,
    Gates,
    Registration,
    ReleaseReport,
    StepRecord,
    StepState,
    Verdict,
    Verification,
)

__all__ = [
    "SCHEMA_VERSION",
    "Benchmark",
    "Candidate",
    "Certificate",
    "Column",
    "Conversion",
    "Deployment",
    "Dossier",
    "Evaluation",
    "Explanation",
    "Feature",
    "Footprint",
    "Gates",
    "Latency",
    "Record",
    "Registration",
    "ReleaseReport",
    "Report",
    "Resolution",
    "RuntimeSettings",
    "StepRecord",
    "StepState",
    "Subject",
    "Tensor",
    "Verdict",
    "Verification",
    "WorstRow",
]
