"""The parts of AWS that a stage is made of."""

from typing import Any, NamedTuple

from batchyield.aws.calls import client
from batchyield.aws.stacks import POLL, Say, Stacks


class Cloud(NamedTuple):
    """Clients of botocore, who is told of progress, and seconds between two questions."""

    stacks: Stacks
    ecr: Any
    ecs: Any
    logs: Any
    secrets: Any
    say: Say
    poll: float


def cloud(say: Say, poll: float = POLL) -> Cloud:
    """The account and region that the environment names."""
    stacks = Stacks(client("cloudformation"), say, poll)
    ecr, ecs, logs, secrets = map(client, ("ecr", "ecs", "logs", "secretsmanager"))
    return Cloud(stacks, ecr, ecs, logs, secrets, say, poll)
