"""What the README says to copy works as it is."""

import json
import re
import subprocess

from dev.environment import ROOT
from tests.system import System

README = ROOT / "README.md"


def test_its_commands_place_an_order_and_read_it(system: System) -> None:
    section = README.read_text().partition("\n## Try it\n")[2].partition("\n## ")[0]
    place, read = (
        block.replace("http://localhost:8000", system.url("order-web"))
        for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    )
    shown = json.loads(re.findall(r"```json\n(.*?)```", section, re.DOTALL)[0])

    placed = _shell(f"{place}\necho $order").strip()

    assert re.fullmatch(r"/orders/[0-9a-f-]{36}", placed)
    system.wait_for_status(placed.removeprefix("/orders/"), "completed")
    order = json.loads(_shell(f"order={placed}\n{read}"))
    varies = {"id", "created_at", "updated_at"}
    assert order.keys() == shown.keys()
    assert {key: order[key] for key in order.keys() - varies} == {key: shown[key] for key in shown.keys() - varies}


def _shell(script: str) -> str:
    return subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True, timeout=60).stdout
