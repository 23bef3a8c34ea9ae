"""The system as a black box: six real processes, a real PostgreSQL, a real RabbitMQ; only HTTP, AMQP and commands."""

import pytest

# So that the assertions in these modules, too, show what they compared.
pytest.register_assert_rewrite("tests.browser", "tests.load", "tests.programs", "tests.system")
