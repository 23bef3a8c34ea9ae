import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest
from django.db import connection

from messaging.conf import MessagingConfig
from messaging.models import DeadLetter, InboxMessage
from messaging.tests.conftest import Broker, eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def dying_consumer() -> Iterator[None]:
    database, _, _ = os.environ["DATABASE_URL"].rpartition("/")
    env = os.environ | {"DATABASE_URL": f"{database}/{connection.settings_dict['NAME']}"}
    process = subprocess.Popen([sys.executable, "-m", "messaging.tests.crashing"], env=env, start_new_session=True)
    yield
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_message_that_kills_the_process_takes_no_other_with_it(
    broker: Broker, config: MessagingConfig, request: pytest.FixtureRequest
) -> None:
    for number in range(100):
        if number == 50:
            broker.publish(b'{"kill": true}', type="thing.happened")
        broker.publish_thing(number)
    request.getfixturevalue("dying_consumer")
    letter = eventually(DeadLetter.objects.first, within=60)
    eventually(lambda: InboxMessage.objects.count() == 100, within=30)
    assert bytes(letter.body) == b'{"kill": true}'
    assert letter.error_type == "DeliveryLimitExceeded"
    assert DeadLetter.objects.count() == 1
    eventually(lambda: broker.count(config.queue) == 0)
