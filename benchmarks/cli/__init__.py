"""`faceid benchmark`: one group, each protocol's command loaded only when it is typed (or listed)."""

from importlib import import_module

import click

# In the order of use. The modules are light: whatever computes is imported when a command runs.
COMMANDS = {
    "megaface": "benchmarks.cli.megaface",
    "lfw": "benchmarks.cli.lfw",
    "blufr": "benchmarks.cli.blufr",
    "verification": "benchmarks.cli.verification",
    "ytf": "benchmarks.cli.ytf",
    "ijb": "benchmarks.cli.ijb",
    "cluster": "benchmarks.cli.cluster",
    "groups": "benchmarks.cli.groups",
    "features": "benchmarks.cli.features",
    "speed": "benchmarks.cli.speed",
}


class BenchmarkGroup(click.Group):
    """The protocols."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command; None if there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        return command


@click.command(cls=BenchmarkGroup)
def benchmark() -> None:
    """Measure by the protocols of the field, every figure with its counts and intervals.

    Photos or feature files (`faceid embed`, `faceid benchmark features`) go in; results.json, CSVs and a page of plots
    come out. `faceid report` lays several runs over each other.
    """
