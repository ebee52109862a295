"""The journal's migration as a task of its own, so that a failing one leaves the service as it was."""

import time
from collections.abc import Mapping

from batchyield.aws.cloud import Cloud
from batchyield.errors import SetupError

NAME = "migration"
"""Of the container, and what its log streams begin with."""

LONGEST = 600.0
"""Seconds that a task may take to be found room for, to bring the journal up to date, and to end."""


def migrate(aws: Cloud, stage: Mapping[str, str]) -> None:
    """Runs the migration task and waits for it.

    Raises:
        SetupError: it could not be started, ended otherwise than with 0, or did not end in time.
    """
    network = {
        "subnets": stage["PrivateSubnets"].split(","),
        "securityGroups": [stage["TasksSecurityGroup"]],
        "assignPublicIp": "DISABLED",
    }
    started = aws.ecs.run_task(
        cluster=stage["ClusterName"],
        taskDefinition=stage["MigrationTask"],
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": network},
    )
    if started.get("failures") or not started["tasks"]:
        why = "; ".join(failure.get("reason", "") for failure in started.get("failures", ()))
        raise SetupError(f"the journal's migration could not be started: {why}", "the service is as it was; then again")
    arn = started["tasks"][0]["taskArn"]
    aws.say("journal: the migration was started")
    until = time.monotonic() + LONGEST
    while True:
        task = aws.ecs.describe_tasks(cluster=stage["ClusterName"], tasks=[arn])["tasks"][0]
        if task["lastStatus"] == "STOPPED":
            break
        if time.monotonic() > until:
            raise SetupError(
                f"the journal's migration is {task['lastStatus']} after {LONGEST:.0f} s", "look at its task and log"
            )
        time.sleep(aws.poll)
    said = _log(aws, stage["LogGroup"], f"{NAME}/{NAME}/{arn.rpartition('/')[2]}")
    for line in said:
        aws.say(f"journal: {line}")
    code = task["containers"][0].get("exitCode")
    if code != 0:
        why = said[-1] if said else task.get("stoppedReason", "it said nothing")
        raise SetupError(f"the journal's migration ended with {code}: {why}", "the service is as it was; then again")
    aws.say("journal: up to date")


def _log(aws: Cloud, group: str, stream: str) -> list[str]:
    from botocore.exceptions import ClientError

    try:
        events = aws.logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)["events"]
    except ClientError:  # a task that never started has no stream
        return []
    return [event["message"] for event in events]
