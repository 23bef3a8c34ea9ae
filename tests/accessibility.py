"""Asks axe-core whether everybody can use a page."""

from pathlib import Path
from typing import Any

import axe_selenium_python

from tests.browser import Browser

_AXE = Path(axe_selenium_python.__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
_RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, {runOnly: arguments[0], resultTypes: ["violations"]})
    .then(results => done(results.violations), error => done(String(error)));
"""
# Does what the theme switch of the admin does. Without transitions, or colours would be measured while they fade.
_THEME = """
document.documentElement.classList.toggle("dark", arguments[0]);
document.head.insertAdjacentHTML("beforeend", "<style>* { transition: none !important; }</style>");
"""
WIDE, NARROW = 1440, 390


def assert_accessible(browser: Browser) -> None:
    """Asserts that the page, as it looks now, breaks no rule of WCAG 2.1 A and AA, nor of axe's best practice."""
    browser.driver.execute_script(_AXE.read_text())
    violations = browser.driver.execute_async_script(_RUN, _RULES)
    assert isinstance(violations, list), violations
    told = "\n".join(f"{violation['id']}: {violation['help']}\n{_places(violation)}" for violation in violations)
    assert not violations, f"{browser.url} is not for everybody:\n{told}"


def assert_accessible_everywhere(browser: Browser) -> None:
    """Asserts that the page is accessible in light and dark, wide and narrow, and never scrolls sideways."""
    size = browser.driver.get_window_size()
    try:
        for width in (WIDE, NARROW):
            browser.driver.set_window_size(width, size["height"])
            for dark in (True, False):
                browser.driver.execute_script(_THEME, dark)
                where = f"{width} wide, {'dark' if dark else 'light'}"
                try:
                    assert_accessible(browser)
                except AssertionError as error:
                    raise AssertionError(f"{where}: {error}") from None
                wanted = browser.driver.execute_script("return document.documentElement.scrollWidth")
                assert wanted <= width, f"{browser.url}, {where}, scrolls sideways: it is {wanted} wide"
    finally:
        browser.driver.set_window_size(size["width"], size["height"])


def _places(violation: dict[str, Any]) -> str:
    return "\n".join(
        f"    {' '.join(map(str, node['target']))}\n        {node['failureSummary'].replace(chr(10), ' ')}\n"
        f"        {node['html'][:200]}"
        for node in violation["nodes"]
    )
