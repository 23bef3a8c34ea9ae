"""Every link of the documentation leads somewhere."""

from pathlib import Path

import pytest

from dev.environment import ROOT
from tests.docs.pages import PAGES, anchors, links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        if link.startswith(("https://", "http://localhost")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_decision_is_in_order() -> None:
    numbers = [int(page.name[:4]) for page in PAGES if page.parent.name == "adr"]

    assert numbers == list(range(1, len(numbers) + 1))
