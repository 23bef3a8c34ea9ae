import re

import environ
import pytest

from dev.environment import ROOT, SERVICES, Service
from dev.system import DEFAULT_PORTS


def names(text: str) -> set[str]:
    return set(re.findall(r"^#?([A-Z][A-Z_]+)=", text, re.MULTILINE))


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_the_example_of_a_service_lists_just_what_the_service_reads(service: Service) -> None:
    sources = [service.folder / service.package / "settings.py", service.folder / "gunicorn.conf.py"]
    read = {name for path in sources for name in re.findall(r"\benv\.\w+\(\s*[\"']([A-Z_]+)[\"']", path.read_text())}

    assert {"DATABASE_URL", "PORT"} <= read
    assert names((service.folder / ".env.example").read_text()) == read


@pytest.mark.parametrize("folder", [ROOT, *(service.folder for service in SERVICES)], ids=lambda folder: folder.name)
def test_every_setting_of_an_example_has_one_line_of_explanation(folder: object) -> None:
    lines = (ROOT / str(folder) / ".env.example").read_text().splitlines()

    settings = [number for number, line in enumerate(lines) if names(line)]
    assert settings
    assert [lines[number] for number in settings if not lines[number - 1].startswith("# ")] == []


def test_the_example_of_the_root_changes_nothing_when_it_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    example = (ROOT / ".env.example").read_text()

    assert not re.search(r"^[^#\n]", example, re.MULTILINE)
    for variable, default in DEFAULT_PORTS.items():
        assert f"\n#{variable}={default}\n" in example


def test_the_example_of_the_root_lists_all_that_compose_reads() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()

    assert set(re.findall(r"\$\{([A-Z_]+)", compose)) <= names((ROOT / ".env.example").read_text())


def test_compose_passes_on_all_that_the_example_has_for_both() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    for_both = (ROOT / ".env.example").read_text().partition("# ── Both")[2].partition("\n# ── ")[0]

    assert len(names(for_both)) > 20
    assert names(for_both) - set(re.findall(r"\$\{([A-Z_]+)", compose)) == {"RELEASE"}  # which is a build argument


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_the_example_of_a_service_leads_to_the_servers_of_make_servers(service: Service) -> None:
    values = dict(re.findall(r"^([A-Z_]+)=(.*)$", (service.folder / ".env.example").read_text(), re.MULTILINE))

    assert environ.Env.db_url_config(values["DATABASE_URL"])["PORT"] == DEFAULT_PORTS["POSTGRES_PORT"]
    assert f":{DEFAULT_PORTS['RABBITMQ_PORT']}/" in values["RABBITMQ_URL"]
