"""Autoscaling: how many replicas a part should have, from samples of what it does.

`Meter` makes samples of processes and the gateway's statistics; `Autoscaler` decides by them,
without a clock or any access of its own.
"""

from modelport_engine.scaling.autoscaler import Autoscaler
from modelport_engine.scaling.meter import Meter
from modelport_engine.scaling.policy import Decision, Metric, Scale, Windows
from modelport_engine.scaling.samples import Sample, Traffic

__all__ = ["Autoscaler", "Decision", "Meter", "Metric", "Sample", "Scale", "Traffic", "Windows"]
