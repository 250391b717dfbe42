"""YAML as Kubernetes reads it, and the lines of its fields."""

import io
import json

import pytest

from modelport import documents
from modelport.errors import UsageError

TEXT = """\
# a comment
kind: A
metadata:
  annotations:
    serving.kserve.io/stop: "true"
spec:
  args: [one,
    two]
---
---
kind: B
"""


def test_each_document_is_read_and_empty_ones_are_passed_over():
    first, second = documents.parse(TEXT, "x.yaml")
    assert (first.kind, second.kind) == ("A", "B")
    assert first.value["spec"] == {"args": ["one", "two"]}


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("kind", 2),
        ("metadata.annotations[serving.kserve.io/stop]", 5),
        ("metadata.annotations.serving.kserve.io/stop", 5),
        ("spec.args[0]", 7),
        ("spec.args[1]", 8),
        ("spec.args[1].deeper", 8),
        ("spec.nothing", 6),
        ("", 2),
    ],
)
def test_a_field_s_line(path, line):
    assert documents.parse(TEXT, "x.yaml")[0].line(path) == line


def test_a_list_is_its_items():
    text = "kind: List\nitems:\n- kind: A\n- kind: B\n"
    assert [(one.kind, one.line()) for one in documents.parse(text, "x")] == [("A", 3), ("B", 4)]


def test_what_kubernetes_reads_as_text_stays_text():
    (one,) = documents.parse("a: 2026-03-01\nb: 1\nc: yes\nd: 1.5\ne: null\nf: 'no'", "x")
    assert one.value == {"a": "2026-03-01", "b": 1, "c": True, "d": 1.5, "e": None, "f": "no"}


def test_aliases_and_merges_are_written_out():
    (one,) = documents.parse("x: &x {a: 1}\ny:\n  <<: *x\n  b: 2", "x")
    assert one.value["y"] == {"a": 1, "b": 2}


def _laughs():
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    return "\n".join(rows)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "x:2: a is there already, in line 1"),
        ("b:\n  a: 1\n  c: 1\n  a: 1", "x:4: a is there already, in line 2"),
        ("a: &a [*a]", "x:1: the document holds itself"),
        (_laughs(), "it has more than 100000 values"),
        ("a: !!python/object/apply:os.system ['true']", "x:1: .*nothing that Kubernetes has"),
        ("a: !!binary aGk=", "nothing that Kubernetes has"),
        ("1: a", "x:1: the key is no text"),
        ("? [a]\n: b", "x:1: the key is no text"),
        ("a: .nan", "x:1: .nan is no number in JSON"),
        ("a: -.Inf", "is no number in JSON"),
        ("a: !!int abc", "x: invalid literal"),
        ("a: [", "x:1: expected the node content"),
        ("a: 1\n b: 2", "x:2: mapping values are not allowed"),
        ("[" * 5000, "x is nested too deeply"),
        ("a: \x01", "x: unacceptable character"),
        ("a: " + "b" * 1024 * 1024, "larger than 1048576 bytes"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
    ],
)
def test_what_is_refused_is_said_in_one_line(text, said):
    with pytest.raises(UsageError, match=said) as raised:
        documents.parse(text, "x")
    assert len(str(raised.value).splitlines()) == 1


def test_files_folders_and_standard_input(tmp_path, monkeypatch):
    (tmp_path / "b.yaml").write_text("kind: B")
    (tmp_path / "a.json").write_text(json.dumps({"kind": "A"}))
    (tmp_path / "notes.txt").write_text("[")
    (tmp_path / "deeper.yaml").mkdir()
    assert [one.kind for one in documents.read([str(tmp_path)])] == ["A", "B"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"kind: C")))
    (one,) = documents.read(["-"])
    assert (one.kind, one.source) == ("C", "stdin")


@pytest.mark.parametrize(
    ("name", "said"),
    [("gone.yaml", "there is no file"), ("empty.yaml", "there is no object in")],
)
def test_a_file_that_says_nothing(tmp_path, name, said):
    (tmp_path / "empty.yaml").write_text("# nothing\n---\n")
    with pytest.raises(UsageError, match=said):
        documents.read([str(tmp_path / name)])
