"""What deploy/ has for other programs agrees with the metrics, settings and commands of the services."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.environment import ROOT
from tests.docs.pages import anchors
from tests.docs.test_names import first_columns, section

DEPLOY = ROOT / "deploy"
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = json.loads((DEPLOY / "grafana" / "order-processing.json").read_text())["panels"]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
REQUIRED = {"DATABASE_URL", "RABBITMQ_URL", "SECRET_KEY", "ALLOWED_HOSTS"}


def metrics_of(expression: str) -> set[str]:
    names = re.findall(r"\b((?:http|order|orders|messaging|metrics)_\w+)", expression)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def test_every_alert_asks_for_metrics_that_there_are() -> None:
    asked = {rule["alert"]: metrics_of(rule["expr"]) for rule in RULES}

    assert set().union(*asked.values()) - first_columns(section("Metrics")) == set()
    assert [alert for alert, metrics in asked.items() if not metrics] == ["ProcessAway"]  # that one asks for `up`


def test_the_dashboard_shows_all_metrics() -> None:
    shown = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]

    assert set().union(*map(metrics_of, shown)) == first_columns(section("Metrics")) - {"metrics_collector_failed"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_the_runbook_says_what_to_do_about_an_alert(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")

    assert anchor in anchors(ROOT / page)


@pytest.mark.parametrize(("folder", "token"), [("orders", "PROCESSOR_API_TOKEN"), ("processor", "ORDERS_API_TOKEN")])
def test_in_kubernetes_a_service_has_what_it_requires_and_nothing_that_it_does_not_know(
    folder: str, token: str
) -> None:
    text = (DEPLOY / "kubernetes" / folder / "kustomization.yaml").read_text()
    [settings] = yaml.safe_load(text)["configMapGenerator"]
    given = {literal.partition("=")[0] for literal in settings["literals"]}
    secret = set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", text.partition("namespace:")[0]))

    assert token in secret
    assert not given & secret
    assert given | secret > REQUIRED
    assert given | secret < first_columns(section("Environment"))


def test_in_kubernetes_runs_what_compose_runs() -> None:
    def as_words(command: str | list[str] | None) -> str:
        return command.replace('"', "") if isinstance(command, str) else " ".join(command or ())

    compose = {as_words(service.get("command")) for name, service in COMPOSE.items() if name.startswith("order-")}
    daily = {
        f"sh -c python manage.py {commands}" for commands in ("purge && python manage.py clearsessions", "reconcile")
    }
    documents = [
        document
        for path in sorted(Path(DEPLOY / "kubernetes" / "service").glob("*.yaml"))
        if path.name != "kustomization.yaml"
        for document in yaml.safe_load_all(path.read_text())
    ]
    run = {as_words(container.get("args")) for document in documents for container in _containers(document)}

    assert run == compose | daily


def _containers(found: Any) -> list[dict[str, Any]]:
    """All containers, wherever they are in it."""
    if not isinstance(found, dict):
        return []
    return [*found.get("containers", ()), *(one for value in found.values() for one in _containers(value))]
