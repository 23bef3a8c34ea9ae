import json
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from messaging import dead_letters, editing
from messaging.conf import MessagingConfig
from messaging.consumer import Consumer
from messaging.editing import ChangedMeanwhileError, EditError
from messaging.errors import PermanentError
from messaging.models import DeadLetter, InboxMessage, OperatorAction, OutboxMessage
from messaging.relay import Relay
from messaging.stopping import Stop
from messaging.tests.conftest import Broker, Running, eventually
from messaging.tests.handlers import Recorder
from messaging.tests.letters import LATER, again, failed, stored
from messaging.tests.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

BODY = b'{"thing": "a1", "number": "seven"}'
MENDED = b'{"thing": "a1", "number": 7}'


def edit(row: DeadLetter, body: bytes = MENDED, **changes: Any) -> DeadLetter:
    given: dict[str, Any] = {
        "dead_letter_id": row.pk,
        "by": "anna",
        "reason": "a digit",
        "seen": editing.version_of(row),
    }
    return editing.edit_and_replay(body=body, **(given | changes))


def nothing_was_done(row: DeadLetter) -> bool:
    assert not OutboxMessage.objects.exists()
    assert not OperatorAction.objects.exists()
    return DeadLetter.objects.filter(pk=row.pk, status="waiting", settled_by="").exists()


def test_the_edited_message_is_sent_with_the_same_id() -> None:
    row = stored(body=BODY, headers={"tenant": "x"}, correlation_id="request-7")
    edit(row)
    message = OutboxMessage.objects.get()
    assert (message.message_id, message.type, message.correlation_id) == (row.message_id, row.type, "request-7")
    assert (bytes(message.body), message.headers["tenant"]) == (MENDED, "x")
    assert (message.exchange, message.routing_key) == ("things.retry", "things.events.v1")


def test_the_original_is_superseded_and_kept_as_it_was() -> None:
    row = edit(stored(body=BODY))
    assert (row.status, row.settled_by, bytes(row.body)) == ("superseded", "anna", BODY)
    assert DeadLetter.objects.get().settled_at is not None


def test_what_was_changed_and_why_is_written_down() -> None:
    row = stored(body=BODY)
    edit(row)
    action = OperatorAction.objects.get()
    assert (action.action, action.by, action.reason, action.dead_letter_id, action.message_id) == (
        "edit", "anna", "a digit", row.pk, row.message_id,
    )  # fmt: skip
    assert '-  "number": "seven"' in action.detail["diff"]
    assert '+  "number": 7' in action.detail["diff"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"[1]", "not an object"),
        (b"{", "The body does not hold"),
        (b"\xff", "The body does not hold"),
        (b'{"thing": "a2", "number": 7}', "is about a1, and edited it would be about a2"),
        (b'{"number": 7}', "nothing that can be read"),
        (BODY, "as it was"),
        (b'{"thing":"a1",\r\n"number":"seven"}', "as it was"),
    ],
)
def test_a_body_that_may_not_take_its_place_is_refused(body: bytes, text: str) -> None:
    row = stored(body=BODY)
    with pytest.raises(EditError, match=text):
        edit(row, body)
    assert nothing_was_done(row)


def test_a_message_that_said_not_what_it_is_about_may_say_so_now() -> None:
    assert edit(stored(body=b"garbage")).status == "superseded"


@pytest.mark.parametrize("reason", ["", "  "])
def test_it_needs_a_reason(reason: str) -> None:
    row = stored(body=BODY)
    with pytest.raises(EditError, match="Say why"):
        edit(row, reason=reason)
    assert nothing_was_done(row)


def test_what_has_taken_effect_cannot_be_edited() -> None:
    row = stored(body=BODY)
    InboxMessage.objects.create(message_id=row.message_id, type="t")
    with pytest.raises(EditError, match="taken effect already"):
        edit(row)
    assert nothing_was_done(row)


def test_what_somebody_has_settled_meanwhile_is_left_alone() -> None:
    row = stored(body=BODY)
    dead_letters.replay(dead_letters=DeadLetter.objects.all(), by="bert")
    with pytest.raises(ChangedMeanwhileError, match="replayed by bert meanwhile"):
        edit(row)
    assert DeadLetter.objects.get().status == "replayed"
    assert OutboxMessage.objects.count() == 1


def test_what_has_failed_again_meanwhile_is_looked_at_again() -> None:
    message = failed(body=BODY)
    dead_letters.store([message])
    row = DeadLetter.objects.get()
    dead_letters.store([again(message, failed_at=LATER)])
    with pytest.raises(ChangedMeanwhileError, match="failed again meanwhile"):
        edit(row)
    assert nothing_was_done(row)


def test_one_that_is_gone_is_named() -> None:
    row = stored(body=BODY)
    DeadLetter.objects.all().delete()
    with pytest.raises(ChangedMeanwhileError, match="no dead letter"):
        edit(row)


def test_two_people_at_once_send_one() -> None:
    row = stored(body=BODY)
    bodies = [json.dumps({"thing": "a1", "number": number}).encode() for number in range(4)]
    answers = at_once(*(partial(edit, row, body) for body in bodies))
    assert sum(isinstance(answer, ChangedMeanwhileError) for answer in answers) == 3
    assert OutboxMessage.objects.count() == 1
    assert OperatorAction.objects.count() == 1


def test_of_original_and_edit_only_one_takes_effect_ever(
    broker: Broker, config: MessagingConfig, recorder: Recorder, request: pytest.FixtureRequest
) -> None:
    row = stored(body=BODY)
    edit(row)
    # The worst that can happen: the original is sent again too, many times, and its copies come first and last.
    original: dict[str, Any] = {"type": row.type, "message_id": str(row.message_id)}
    for _ in range(3):
        broker.publish(BODY, **original)
    stop = Stop()
    for run in (Consumer(config, stop).run, Relay(config, stop).run):
        request.addfinalizer(Running(run, stop.request).stop)
    eventually(lambda: not OutboxMessage.objects.exists())
    for _ in range(3):
        broker.publish(BODY, **original)
    broker.publish(b'{"thing": "last", "number": 1}', type=row.type, message_id=str(uuid4()))
    eventually(lambda: "last" in [m.payload["thing"] for batch in recorder.batches for m in batch])
    handled = [message for batch in recorder.batches for message in batch if message.id == row.message_id]
    assert len(handled) == 1
    assert InboxMessage.objects.filter(message_id=row.message_id).count() == 1


def test_an_edited_message_that_fails_again_is_a_dead_letter_of_its_own(
    broker: Broker, config: MessagingConfig, recorder: Recorder, request: pytest.FixtureRequest
) -> None:
    def refuse(messages: Any) -> None:
        raise PermanentError("still wrong")

    recorder.before = refuse
    row = edit(stored(body=BODY))
    stop = Stop()
    for run in (Consumer(config, stop).run, Relay(config, stop).run):
        request.addfinalizer(Running(run, stop.request).stop)
    new = eventually(lambda: DeadLetter.objects.filter(status="waiting").first())
    assert (new.message_id, bytes(new.body), new.error_message) == (row.message_id, MENDED, "still wrong")
    row.refresh_from_db()
    assert (row.status, row.occurrences) == ("superseded", 1)


class TestTexts:
    def test_a_diff_is_of_indented_json(self) -> None:
        assert editing.diff(b'{"a":1,"b":2}', b'{"a":1,"b":3}') == [
            "--- original", "+++ edited", "@@ -1,4 +1,4 @@", " {", '   "a": 1,', '-  "b": 2', '+  "b": 3', " }",
        ]  # fmt: skip

    def test_a_diff_of_anything_steers_no_terminal(self) -> None:
        lines = editing.diff(b"\xff\x1b[2J", b"\x1b[3J")
        assert "\x1b" not in "".join(lines)
        assert "-\\xff\\x1b[2J" in lines

    def test_a_body_is_edited_as_text(self) -> None:
        assert editing.editable(b'{"a":1.10}') == '{\n  "a": 1.10\n}'
        assert editing.editable(b"plain") == "plain"
        assert editing.editable(b"[" * 100_000) == "[" * 100_000
        assert editing.editable(b"\xff") is None
