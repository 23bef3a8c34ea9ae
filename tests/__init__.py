"""The system as a black box: six real processes, a real PostgreSQL, a real RabbitMQ; HTTP, AMQP and commands alone."""

import pytest

# Their assertions shall show what they have compared, too.
pytest.register_assert_rewrite("tests.browser", "tests.load", "tests.programs", "tests.system")
