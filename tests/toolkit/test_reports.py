import math

import pytest
from pydantic import ValidationError

from modelport.reports import Certificate, Gates, Resolution, Verdict


def test_a_report_survives_its_file(tmp_path):
    certificate = Certificate(verdict="failed", reason="x", max_abs_difference=math.inf)
    certificate.write(tmp_path / "deep" / "certificate.json")
    assert Certificate.read(tmp_path / "deep" / "certificate.json") == certificate
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["certificate.json"]


def test_a_report_of_another_version_or_kind_is_refused(tmp_path):
    path = tmp_path / "report.json"
    Resolution(source="a", uri="b", flavour="sklearn").write(path)
    with pytest.raises(ValidationError):
        Certificate.read(path)
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(ValidationError):
        Resolution.read(path)


def test_gates_pass_only_together():
    def verdict(*, passed):
        return Verdict(
            gate="g", metric="p99", stage="before", measured="1", passed=passed, reason=""
        )

    assert Gates().passed
    assert Gates(verdicts=(verdict(passed=True),)).passed
    assert not Gates(verdicts=(verdict(passed=True), verdict(passed=False))).passed
