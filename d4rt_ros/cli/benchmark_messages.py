"""`d4rt benchmark messages`: what converting messages costs on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Iterator


def tables(args: argparse.Namespace, machine: str) -> Iterator:
    from rich.table import Table

    from d4rt_ros.ros.listening.message_costs import message_costs

    costs = message_costs()
    table = Table("figure", "value", title=f"d4rt benchmark messages: {machine}")
    for name, milliseconds in costs.items():
        table.add_row(name, f"{milliseconds:.2f} ms")
    usual = costs["image message to model input"] + costs["result to messages"]
    table.add_row("sum of the first two, 640x480 image and 65,536 points", f"{usual:.2f} ms")
    yield table
