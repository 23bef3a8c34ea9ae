"""docs/operations.md lists just the settings and metrics that there are."""

import re
from pathlib import Path

import pytest

from dev.environment import ROOT, SERVICES, Service

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
EXAMPLES = [ROOT / ".env.example", *(service.folder / ".env.example" for service in SERVICES)]
SHARED = ("messaging", "observability", "serving", "httpapi")


def section(heading: str) -> str:
    return OPERATIONS.partition(f"\n### {heading}\n")[2].partition("\n### ")[0]


def first_columns(table: str) -> set[str]:
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    return set(re.findall(r"`(\w+)`", " ".join(rows)))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_setting_of_an_example_is_explained(example: Path) -> None:
    settings = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", example.read_text(), re.MULTILINE))

    assert settings
    assert settings - first_columns(section("Environment")) == set()


def test_no_setting_is_explained_that_does_not_exist() -> None:
    named = set(re.findall(r"[A-Z][A-Z0-9_]+", " ".join(example.read_text() for example in EXAMPLES)))

    assert first_columns(section("Environment")) - named == {"PROMETHEUS_MULTIPROC_DIR"}


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_every_variable_that_a_service_reads_is_explained(service: Service) -> None:
    source = (service.folder / service.package / "settings.py").read_text() + (
        service.folder / "gunicorn.conf.py"
    ).read_text()
    read = set(re.findall(r"\benv\.\w+\(\s*[\"']([A-Z0-9_]+)[\"']", source))

    assert {"DATABASE_URL", "PORT"} <= read
    assert read - first_columns(section("Environment")) == set()


def test_the_metrics_are_those_of_the_code() -> None:
    folders = [*(ROOT / name for name in SHARED), *(service.folder for service in SERVICES)]
    sources = [path for folder in folders for path in folder.rglob("*.py") if "tests" not in path.parts]
    defined = set()
    for path in sources:
        for kind, name in re.findall(r"\b(Counter|Gauge|Histogram|GaugeMetricFamily)\(\s*\"(\w+)\"", path.read_text()):
            defined.add(f"{name.removesuffix('_total')}_total" if kind == "Counter" else name)

    assert defined
    assert first_columns(section("Metrics")) == defined
