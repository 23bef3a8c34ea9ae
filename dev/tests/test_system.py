import os
import socket
from pathlib import Path

import pytest

from dev import data
from dev import system as system_module
from dev.environment import ORDER, PROCESSOR
from dev.processes import free_port
from dev.system import DEFAULT_PORTS, StartError, System


@pytest.fixture(autouse=True)
def _no_settings_of_a_developer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(system_module, "ROOT", tmp_path)
    monkeypatch.setattr(data, "FOLDER", tmp_path / ".data")
    data.FOLDER.mkdir()
    (data.FOLDER / "servers").mkdir()
    # Set so that at the end of the test what its .env has set is undone, too.
    given = ("RABBITMQ_URL", "ORDER_DATABASE_URL", "PROCESSOR_DATABASE_URL", "LOG_LEVEL", "ALLOWED_HOSTS")
    for variable in (*DEFAULT_PORTS, *given):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)


def move_all_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in DEFAULT_PORTS:
        monkeypatch.setenv(variable, str(free_port()))


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("variable", DEFAULT_PORTS)
def test_a_taken_port_is_named_with_the_variable_that_moves_it(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    move_all_ports(monkeypatch)
    system = System()
    system.check_ports()

    with socket.create_server(("127.0.0.1", system.ports[variable])), pytest.raises(StartError) as raised:
        system.check_ports()

    assert str(raised.value) == (
        f"Port {system.ports[variable]} is taken; {variable}, in the environment or in .env, moves it."
    )


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_a_port_is_taken_by_whoever_localhost_leads_to_first(monkeypatch: pytest.MonkeyPatch) -> None:
    move_all_ports(monkeypatch)
    system = System()
    system.check_ports()

    with (
        socket.create_server(("::1", system.ports["ORDER_PORT"]), family=socket.AF_INET6),
        pytest.raises(StartError, match=r"is taken; ORDER_PORT"),
    ):
        system.check_ports()


def test_a_port_that_is_not_needed_may_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    move_all_ports(monkeypatch)
    monkeypatch.setenv("RABBITMQ_URL", "amqp://them:secret@broker.example/")
    system = System()

    with socket.create_server(("127.0.0.1", system.ports["RABBITMQ_PORT"])):
        system.check_ports()


def test_a_port_that_is_wanted_twice_is_named_with_both(monkeypatch: pytest.MonkeyPatch) -> None:
    move_all_ports(monkeypatch)
    monkeypatch.setenv("ORDER_PORT", port := str(free_port()))
    monkeypatch.setenv("PROCESSOR_PORT", port)

    with pytest.raises(StartError, match=f"^Port {port} is that of ORDER_PORT and of PROCESSOR_PORT.$"):
        System().check_ports()


def test_the_services_are_reached_by_the_name_they_call_each_other_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", "shop.example")

    assert System().environment(ORDER)["ALLOWED_HOSTS"] == "shop.example,localhost"


@pytest.mark.parametrize("value", ["none", "0", "65536", "-1", "²"])
def test_a_port_that_is_none_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDER_PORT", value)

    with pytest.raises(StartError, match=r"^ORDER_PORT is '.*', which is no port\.$"):
        System()


def test_servers_that_are_given_are_used_instead_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_URL", "amqp://them:secret@broker.example/")
    monkeypatch.setenv("ORDER_DATABASE_URL", "postgres://them:secret@db.example/orders")
    monkeypatch.setenv("PROCESSOR_DATABASE_URL", "postgres://them:secret@db.example/processor")
    system = System()

    assert system.servers == []
    assert system.environment(ORDER)["DATABASE_URL"] == "postgres://them:secret@db.example/orders"
    assert system.environment(PROCESSOR)["DATABASE_URL"] == "postgres://them:secret@db.example/processor"
    assert system.environment(PROCESSOR)["RABBITMQ_URL"] == "amqp://them:secret@broker.example/"
    assert "broker.example" in system.table()
    assert "secret" not in system.table()


def test_one_given_database_leaves_the_other_service_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDER_DATABASE_URL", "postgres://them:secret@db.example/orders")
    system = System()

    assert system.postgresql is not None
    assert system.environment(ORDER)["DATABASE_URL"] == "postgres://them:secret@db.example/orders"
    assert system.environment(PROCESSOR)["DATABASE_URL"] == system.postgresql.database_url("processor")


def test_the_environment_wins_over_the_env_file_and_both_over_the_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("LOG_LEVEL=DEBUG\nORDER_PORT=8123\nPROCESSOR_PORT=8124\n")
    monkeypatch.setenv("ORDER_PORT", "8125")
    system = System()

    assert system.ports["ORDER_PORT"] == 8125
    assert system.ports["PROCESSOR_PORT"] == 8124
    assert system.environment(ORDER)["LOG_LEVEL"] == "DEBUG"
    assert system.environment(ORDER)["API_AUTH_REQUIRED"] == "false"


def test_the_settings_of_this_shell_do_not_reach_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://somewhere/else")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "some.settings")
    monkeypatch.setenv("PORT", "1")
    environment = System().environment(ORDER)

    assert "somewhere" not in environment["DATABASE_URL"]
    assert environment["PORT"] == "8000"
    assert "DJANGO_SETTINGS_MODULE" not in environment


def test_data_of_another_user_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data.FOLDER.chmod(0o700)
    monkeypatch.setattr(os, "getuid", lambda: data.FOLDER.stat().st_uid + 1)

    with pytest.raises(data.InUseError, match="is another user's"), data.locked():
        pass

    assert data.FOLDER.stat().st_mode & 0o777 == 0o700
    assert not (data.FOLDER / "run.lock").exists()
