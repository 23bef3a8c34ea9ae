import subprocess
import sys
from textwrap import dedent

import pytest

from observability.context import (
    bind,
    child_traceparent,
    current_correlation_id,
    current_traceparent,
    is_correlation_id,
    is_traceparent,
    new_correlation_id,
    new_traceparent,
    rebind,
)

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_outside_of_everything_there_are_no_ids():
    assert (current_correlation_id(), current_traceparent()) == ("", "")


def test_what_is_bound_ends_with_the_block_and_gives_back_what_was_before():
    with bind(correlation_id="outer", traceparent=PARENT):
        with bind(correlation_id="inner"):
            assert (current_correlation_id(), current_traceparent()) == ("inner", "")
        assert (current_correlation_id(), current_traceparent()) == ("outer", PARENT)
    assert (current_correlation_id(), current_traceparent()) == ("", "")


def test_an_error_does_not_leave_the_ids_behind():
    with pytest.raises(RuntimeError), bind(correlation_id="outer"):
        raise RuntimeError
    assert current_correlation_id() == ""


def test_a_new_correlation_id_is_valid_and_above_all_before_it():
    ids = [new_correlation_id() for _ in range(100)]
    assert ids == sorted(set(ids))
    assert all(is_correlation_id(each) for each in ids)


def test_forked_processes_do_not_make_the_same_correlation_ids():
    four_processes = """
        import os
        from observability.context import new_correlation_id
        new_correlation_id()
        os.fork(), os.fork()
        os.write(1, "".join(f"{new_correlation_id()}\\n" for _ in range(100)).encode())
    """
    made = subprocess.run([sys.executable, "-c", dedent(four_processes)], check=True, capture_output=True, text=True)
    assert len(set(made.stdout.split())) == 400


@pytest.mark.parametrize("text", ["a", "A1._:-", "x" * 128, "0197f3c2-8d2b-7e3c-9d3a-1f2e3d4c5b6a"])
def test_it_takes_a_correlation_id_that_is_safe_everywhere(text):
    assert is_correlation_id(text)


@pytest.mark.parametrize("text", ["", "x" * 129, "a b", "a\n", "a\r\nSet-Cookie: x", "é", "a/b", "{}", "\0", "١"])
def test_it_does_not_take_a_correlation_id_that_could_break_a_line_or_a_header(text):
    assert not is_correlation_id(text)


def test_a_new_traceparent_is_valid_and_never_the_same():
    traces = {new_traceparent() for _ in range(100)}
    assert len(traces) == 100
    assert all(is_traceparent(each) for each in traces)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-abc",
        PARENT.upper(),
        PARENT + "\n",
        "ff" + PARENT[2:],
        PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        PARENT.replace("b7ad6b7169203331", "0" * 16),
    ],
)
def test_it_does_not_take_a_traceparent_that_the_standard_calls_invalid(text):
    assert not is_traceparent(text)


def test_a_child_stays_in_its_parents_trace_with_a_span_of_its_own():
    child = child_traceparent(PARENT)
    assert is_traceparent(child)
    assert child[:36] == PARENT[:36]
    assert child[-3:] == PARENT[-3:]
    assert child[36:52] != PARENT[36:52]


def test_every_child_is_valid_and_keeps_the_flags_of_its_parent():
    unsampled = PARENT[:-2] + "00"
    children = [child_traceparent(unsampled) for _ in range(500)]
    assert all(is_traceparent(child) and child.endswith("-00") for child in children)


def test_other_ids_hold_to_the_end_of_the_block():
    with bind(correlation_id="first", traceparent=PARENT):
        rebind(correlation_id="second", traceparent=PARENT.replace("b7", "c8"))
        assert (current_correlation_id(), current_traceparent()) == ("second", PARENT.replace("b7", "c8"))
    assert (current_correlation_id(), current_traceparent()) == ("", "")


def test_a_child_of_an_invalid_parent_begins_a_new_trace():
    child = child_traceparent("nonsense")
    assert is_traceparent(child)
