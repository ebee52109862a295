"""The commands in the runbooks, each against the program that it names.

They run elsewhere: Alertmanager's in test_alerts.py, those of Compose in test_engine.py, queries in test_grafana.py,
and the remedies with `batchyield` in the tests of these commands.
"""

import re
import shlex
import subprocess

import pytest
import yaml
from support.docker_engine import plugin
from support.prometheus_server import needs
from support.runbooks import commands, queries
from support.service import ROOT

from batchyield.cli.__main__ import build_parser

SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].keys()


@pytest.mark.parametrize("command", commands("batchyield"))
def test_batchyield(command):
    """A command is complete, or names what its help explains."""
    words = shlex.split(command)[1:]
    if len(words) > 2:
        build_parser().parse_args(words)
        return
    parser = build_parser()
    for word in words:
        parser = parser.commands.choices[word]


def test_compose():
    """Commands of Compose name services that there are, and options that it has."""
    compose = plugin()
    for command in commands("docker compose"):
        _, _, verb, *words = shlex.split(command.partition(" | ")[0])
        options = [word for word in words if word.startswith("-")]
        names = {word for word in words if word not in options and not re.fullmatch(r"\d+[mh]", word)}
        assert names <= SERVICES | {"NAME"}, command
        if compose:
            known = subprocess.run([compose, verb, "--help"], capture_output=True, text=True, check=True).stdout
            assert all(re.search(rf"(^|\s){option}\b", known) for option in options), command


def test_promtool():
    """Prometheus' own check is called as it is spelled."""
    needs("promtool")
    for command in commands("promtool"):
        subprocess.run([*shlex.split(command), "--help"], capture_output=True, check=True)


def test_found():
    """There are commands and queries of each kind, so that none of these tests checks nothing."""
    assert all(
        commands(program) for program in ("amtool", "batchyield", "docker compose", "docker inspect", "promtool")
    )
    assert len(queries()) > 20
