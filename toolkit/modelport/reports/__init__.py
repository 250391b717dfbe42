"""The typed, versioned records that the steps of a release exchange and MLflow keeps.

Every record is one JSON file. Times are seconds unless the name says `_ms`; sizes are bytes.
"""

from modelport.reports.base import SCHEMA_VERSION, Record, Report, Subject
from modelport.reports.benchmark import Benchmark, Candidate, Footprint, Latency, RuntimeSettings
from modelport.reports.certificate import Certificate, Coverage, DifferingRow
from modelport.reports.conversion import (
    Column,
    Conversion,
    Precision,
    PrecisionCandidate,
    Resolution,
    Tensor,
)
from modelport.reports.explanation import (
    Explanation,
    Feature,
    ImageExplanation,
    RowExplanation,
    Swarm,
)
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
from modelport.reports.served import ServedExplanation

__all__ = [
    "SCHEMA_VERSION",
    "Benchmark",
    "Candidate",
    "Certificate",
    "Column",
    "Conversion",
    "Coverage",
    "Deployment",
    "DifferingRow",
    "Dossier",
    "Evaluation",
    "Explanation",
    "Feature",
    "Footprint",
    "Gates",
    "ImageExplanation",
    "Latency",
    "Precision",
    "PrecisionCandidate",
    "Record",
    "Registration",
    "ReleaseReport",
    "Report",
    "Resolution",
    "RowExplanation",
    "RuntimeSettings",
    "ServedExplanation",
    "StepRecord",
    "StepState",
    "Subject",
    "Swarm",
    "Tensor",
    "Verdict",
    "Verification",
]
