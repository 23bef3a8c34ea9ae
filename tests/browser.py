"""A real Chromium, with what it requested and complained about."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.command import Command
from selenium.webdriver.remote.webelement import WebElement

from dev import programs
from dev.environment import ROOT
from dev.processes import end, free_port, is_taken, spawn
from tests.waiting import eventually

SCREENSHOTS = ROOT / "build" / "screenshots"
_FLAGS = [
    "--headless",
    "--no-sandbox",  # with a sandbox it refuses to run as root
    "--remote-debugging-pipe",  # ends Chromium together with its driver, however that ends
    "--window-size=1280,1000",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    # Else it would talk to its maker, and tests would see those requests.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
]


class Browser:
    """Shows one page at a time. Looks for everything until it is there."""

    def __init__(self, driver: webdriver.Remote) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get(url)

    @property
    def url(self) -> str:
        return str(self.driver.current_url)

    @property
    def text(self) -> str:
        """What a person can read on the page."""
        return self.find("body").text

    def find(self, selector: str, *, text: str = "") -> WebElement:
        """The first visible element of a CSS selector, with this text somewhere in it."""

        def look() -> WebElement | None:
            return next((found for found in self.all(selector) if found.is_displayed() and text in found.text), None)

        return eventually(_patient(look), f"{selector} {text!r} on {self.url}", within=30)

    def all(self, selector: str) -> list[WebElement]:
        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def click(self, selector: str, *, text: str = "") -> None:
        element = self.find(selector, text=text)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)

        def click() -> bool:
            element.click()
            return True

        eventually(_patient(click), f"{selector} {text!r} can be clicked", within=30)

    def fill(self, **fields: str) -> None:
        """Types into the form fields with these names."""
        for name, value in fields.items():
            field = self.find(f'[name="{name}"]')
            field.clear()
            field.send_keys(value)

    def wait_for_text(self, text: str) -> None:
        eventually(_patient(lambda: text in self.text), f"{text!r} on {self.url}", within=30)

    def prefer(self, theme: str) -> None:
        """Acts as if the person had chosen `light` or `dark` for their whole system."""
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self._command("Emulation.setEmulatedMedia", features=features)

    @contextmanager
    def without_scripts(self) -> Iterator[None]:
        """Pages that are opened in the block may run no scripts. They can be looked at after it."""
        self._command("Emulation.setScriptExecutionDisabled", value=True)
        try:
            yield
        finally:
            self._command("Emulation.setScriptExecutionDisabled", value=False)

    def _command(self, name: str, **parameters: Any) -> None:
        self.driver.command_executor.add_command(  # type: ignore[union-attr]  # the stubs allow a text here
            "executeCdpCommand", "POST", "/session/$sessionId/goog/cdp/execute"
        )
        self.driver.execute("executeCdpCommand", {"cmd": name, "params": parameters})

    def screenshot(self, name: str) -> None:
        """Saves a picture of the whole page in build/screenshots."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        height = self.driver.execute_script("return document.documentElement.scrollHeight")
        width = self.driver.get_window_size()["width"]
        self.driver.set_window_size(width, min(max(1000, height + 150), 4000))
        self.driver.save_screenshot(str(SCREENSHOTS / f"{name}.png"))
        self.driver.set_window_size(width, 1000)

    def assert_complete(self, *, host: str) -> None:
        """Asserts that since the last call all requests succeeded, none left this host, and no script complained.

        A request that the page's own Content-Security-Policy has held back has not left the host.
        """
        asked: dict[str, str] = {}
        failed: list[str] = []
        for event in self._performance():
            parameters = event["params"]
            match event["method"]:
                case "Network.requestWillBeSent":
                    asked[parameters["requestId"]] = parameters["request"]["url"]
                case "Network.responseReceived" if parameters["response"]["status"] >= 400:
                    failed.append(f"{parameters['response']['status']} {parameters['response']['url']}")
                case "Network.loadingFailed" if parameters.get("blockedReason") == "csp":
                    asked.pop(parameters["requestId"], None)
        foreign = [
            url for url in asked.values() if not url.startswith(("data:", "blob:")) and urlsplit(url).hostname != host
        ]
        complaints = [
            entry["message"]
            for entry in self._log("browser")
            if entry["level"] == "SEVERE" and "Content Security Policy" not in entry["message"]
        ]
        assert foreign == []
        assert failed == []
        assert complaints == []

    def forget(self) -> None:
        """Makes it like new: forgets cookies, its size and its logs."""
        self.driver.set_window_size(1280, 1000)
        self.driver.delete_all_cookies()
        self._log("performance")
        self._log("browser")

    def _performance(self) -> list[dict[str, Any]]:
        return [json.loads(entry["message"])["message"] for entry in self._log("performance")]

    def _log(self, kind: str) -> list[dict[str, Any]]:
        return list(self.driver.execute(Command.GET_LOG, {"type": kind})["value"])


def _patient[T](look: Callable[[], T | None]) -> Callable[[], T | None]:
    """Keeps looking despite errors: while a page is being replaced, its elements may be gone or covered."""

    def patiently() -> T | None:
        try:
            return look()
        except WebDriverException:
            return None

    return patiently


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser with an empty profile. If none is installed, skips the test, or fails it in CI."""
    binary, driver_binary = programs.find_chromium(), programs.find_chromedriver()
    if binary is None or driver_binary is None:
        reason = "chromium and chromedriver are not installed: `python -m dev.packages browser`"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        environment = {**os.environ, "HOME": profile, "TMPDIR": profile}
        process = spawn(
            [driver_binary, f"--port={port}"], cwd=Path(profile), env=environment, output=subprocess.DEVNULL
        )
        try:
            eventually(lambda: is_taken(port), "chromedriver listens")
            options = webdriver.ChromeOptions()
            options.binary_location = str(binary)
            for flag in (*_FLAGS, f"--user-data-dir={profile}/data"):
                options.add_argument(flag)
            options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
            driver = webdriver.Remote(f"http://127.0.0.1:{port}", options=options)
            try:
                yield Browser(driver)
            finally:
                driver.quit()
        finally:
            end(process, by=signal.SIGTERM)
