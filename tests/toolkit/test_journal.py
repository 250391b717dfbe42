from modelport import journal
from modelport.errors import DataError, ModelportError
from modelport.journal import Event, Journal
from modelport.launch import steps_after


def test_events_are_read_once_each_in_order(tmp_path):
    path = tmp_path / "journal.jsonl"
    reader, writer = Journal(path), Journal(path)
    assert reader.fresh() == []
    writer.append(Event("convert", "running"))
    assert [event.state for event in reader.fresh()] == ["running"]
    writer.append(Event("convert", message="half way"))
    writer.append(Event("convert", "done"))
    assert [event.message for event in reader.fresh()] == ["half way", ""]
    assert reader.fresh() == []


def test_half_a_line_waits_for_its_rest(tmp_path):
    path = tmp_path / "journal.jsonl"
    reader, writer = Journal(path), Journal(path)
    writer.append(Event("convert", "done"))
    whole = path.read_bytes()
    path.write_bytes(whole[:10])
    assert reader.fresh() == []
    path.write_bytes(whole)
    assert len(reader.fresh()) == 1


def test_an_error_keeps_its_class_and_words():
    told = journal.failure("deploy", DataError("rows are odd", "mend them"), "trace").error
    again = journal.to_error(told)
    assert type(again) is DataError
    assert str(again) == "rows are odd: mend them"


def test_an_error_that_is_not_ours_is_named_with_its_step():
    told = journal.failure("explain", KeyError("x"), "trace").error
    again = journal.to_error(told)
    assert type(again) is ModelportError
    assert str(again).startswith("step explain failed with KeyError: 'x'")


def test_steps_stand_where_the_events_left_them():
    events = [
        Event("a", "running", at=10.0),
        Event("a", message="counting", at=10.5),
        Event("a", "done", at=12.0),
        Event("b", "running", at=12.0),
        Event("b", message="waiting", at=13.0),
    ]
    a, b, c = steps_after(("a", "b", "c"), events, now=15.0)
    assert (a.state, a.seconds, a.message) == ("done", 2.0, "")
    assert (b.state, b.seconds, b.message) == ("running", 3.0, "waiting")
    assert (c.state, c.seconds) == ("waiting", None)
