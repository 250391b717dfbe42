"""Parity of two models: the certificate, and the rows that it rests on."""

from modelport.parity.certificate import certify
from modelport.parity.compare import TOLERANCES, Comparison, Tolerance, compare
from modelport.parity.probes import Probe, invented, synthetic

__all__ = [
    "TOLERANCES",
    "Comparison",
    "Probe",
    "Tolerance",
    "certify",
    "compare",
    "invented",
    "synthetic",
]
