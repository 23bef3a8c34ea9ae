"""Takes the pictures of the README and of docs/operations.md: `make screenshots`.

Not a test, and not run with the tests: it uses pytest for the system and the browser.
"""

import random
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dev.environment import ORDER, PROCESSOR, ROOT
from tests.browser import Browser
from tests.system import ADMIN_USER, System

IMAGES = ROOT / "docs" / "images"
ORDERS = 600
"""How many orders there are in the last hour, one in eight above the limit."""
FAULTY = {
    "PYTHONPATH": str(Path(__file__).parent / "own_steps"),
    "PROCESSING_STEPS": "processing.steps.validate,processing.steps.limit_total,own_steps.reserve",
}


@pytest.fixture
def system(own_system: System) -> System:
    own_system.heal()
    return own_system


def test_take_all(system: System, browser: Browser) -> None:
    orders, processor = system.admin(ORDER), system.admin(PROCESSOR)
    an_hour_of_orders(system)
    for name in ("processor-web", "processor-consume"):
        system.restart(name, **FAULTY)
    unlucky = [system.post_order(customer_id=f"unlucky-{number}")["id"] for number in range(40)]
    for order in unlucky:
        system.wait_for_dead_letter(PROCESSOR, subject=order)

    browser.open(orders)
    counted(browser)
    take(browser, "overview", height=900)
    browser.open(processor)
    browser.click("#content a", text="RuntimeError")
    browser.click("#content button", text="I look at it")
    browser.wait_for_text(f"{ADMIN_USER} looks at it")
    take(browser, "failure-group", height=1000)
    group = browser.url

    for name in ("processor-web", "processor-consume"):
        system.restart(name)
    browser.open(group)
    browser.click("#content button", text="Replay all that wait")
    browser.fill(reason="The stock service is asked properly now.")
    browser.click("#content [type=submit]", text="Yes, replay")
    browser.wait_for_text("6 handled")
    take(browser, "replay", height=800)
    browser.wait_for_text("40 handled")

    system.wait_for_status(unlucky[0], "completed")
    browser.open(f"{orders}orders/order/{unlucky[0]}/timeline/")
    browser.wait_for_text("The stock service is asked properly now.")
    take(browser, "timeline", height=1300)
    browser.open(f"{system.url('order-web')}/orders")
    browser.find("h1")
    take(browser, "browsable-api", height=900)


def an_hour_of_orders(system: System) -> None:
    """Real orders, all final. Their times are then moved into the past: a shop in the afternoon."""
    chance = random.Random(1)  # gives the same picture each time
    bodies = [
        {
            "customer_id": f"customer-{chance.randrange(100)}",
            "items": [
                {"product_id": "espresso-beans-1kg", "quantity": 1, "price": 150_000 if number % 8 == 0 else 18.5}
            ],
        }
        for number in range(ORDERS)
    ]
    system.orders.post("/orders/batch", json={"orders": bodies}).raise_for_status()
    system.wait(lambda: not pending(system), "all orders are final")
    system.wait_for_empty_outboxes()
    with psycopg.connect(system.places.order_database, autocommit=True) as connection:
        connection.execute(
            """UPDATE orders_order AS o SET created_at = t.at, updated_at = t.at + t.took
               FROM (SELECT id, now() - interval '58 minutes' * sqrt(random()) AS at,
                            interval '40 milliseconds' * (1 + 3 * random() ^ 4) AS took FROM orders_order) AS t
               WHERE o.id = t.id"""
        )
        # The login has shown the overview, which has counted an hour without orders.
        connection.execute("DELETE FROM dashboard_pipelineslot")


def pending(system: System) -> list[Any]:
    found: list[Any] = system.orders.get("/orders", params={"status": "pending", "page_size": 1}).json()["results"]
    return found


def counted(browser: Browser) -> None:
    """Waits until the overview has counted the whole hour, which takes it a few refreshes."""
    browser.find('[data-counted="yes"]')


def take(browser: Browser, name: str, *, height: int) -> None:
    IMAGES.mkdir(exist_ok=True)
    browser.driver.set_window_size(1200, height)
    browser.driver.execute_script("window.scrollTo(0, 0)")
    browser.driver.save_screenshot(str(IMAGES / f"{name}.png"))
