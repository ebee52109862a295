"""CloudFormation stacks: what would change, the change itself, and what happens meanwhile."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from batchyield.aws.calls import STEPS
from batchyield.errors import SetupError

Say = Callable[[str], None]

POLL = 5.0
"""Seconds between two questions."""

GONE = "does not exist"
NOTHING = "No updates are to be performed"
FAILED = ("_FAILED", "ROLLBACK_COMPLETE")


class Change(msgspec.Struct, frozen=True):
    """What an update does to one resource; `replaced` is CloudFormation's True, False or Conditional."""

    action: str
    name: str
    kind: str
    replaced: str

    def __str__(self) -> str:
        anew = {"True": ", made anew", "Conditional": ", perhaps made anew"}.get(self.replaced, "")
        return f"{self.action.lower():<8} {self.name} ({self.kind}{anew})"


class Stacks(NamedTuple):
    """CloudFormation, as far as it is used.

    Attributes:
        api: client of botocore for `cloudformation`.
        say: gets a line of progress.
        poll: seconds between two questions.
    """

    api: Any
    say: Say
    poll: float = POLL

    def find(self, name: str) -> dict[str, Any] | None:
        """What CloudFormation says of a stack; None where there is none."""
        from botocore.exceptions import ClientError

        try:
            stack: dict[str, Any] = self.api.describe_stacks(StackName=name)["Stacks"][0]
        except ClientError as error:
            if GONE in error.response["Error"]["Message"]:
                return None
            raise
        # A change set that was looked at and never executed leaves a stack with nothing in it.
        return None if stack["StackStatus"] == "REVIEW_IN_PROGRESS" else stack

    def outputs(self, name: str) -> dict[str, str]:
        """Outputs of a stack.

        Raises:
            SetupError: there is no such stack.
        """
        stack = self.find(name)
        if stack is None:
            raise SetupError(f"there is no stack {name} in this account and region", STEPS)
        return outputs_of(stack)

    def change(self, name: str, given: Mapping[str, str], template: str) -> bool:
        """Makes or updates a stack, saying what happens; whether anything had to be done.

        Args:
            name: of the stack.
            given: values, of which the template takes those that it has a parameter for; what is not given stays as it
                was, or has its default.
            template: the text of it.

        Raises:
            SetupError: it is in no state to be changed, or the change failed; then CloudFormation has put it back.
        """
        from botocore.exceptions import ClientError

        stack = self._changeable(name)
        request = self._request(name, stack, given, template)
        since = self._newest_event(name) if stack else ""
        try:
            (self.api.update_stack if stack else self.api.create_stack)(**request)
        except ClientError as error:
            if NOTHING not in error.response["Error"]["Message"]:
                raise
            self.say(f"{name}: as it was")
            return False
        self._wait(name, since)
        return True

    def preview(self, name: str, given: Mapping[str, str], template: str) -> list[Change]:
        """What `change` would do, by a change set that is not executed.

        Raises:
            SetupError: it is in no state to be changed, or cannot be changed so.
        """
        stack = self._changeable(name)
        request = self._request(name, stack, given, template)
        kind = "UPDATE" if stack else "CREATE"
        made = self.api.create_change_set(ChangeSetName=f"preview-{time.time_ns()}", ChangeSetType=kind, **request)
        try:
            while True:
                described = self.api.describe_change_set(ChangeSetName=made["Id"])
                if described["Status"] in ("CREATE_COMPLETE", "FAILED"):
                    break
                time.sleep(self.poll)
        finally:
            self.api.delete_change_set(ChangeSetName=made["Id"])
            if stack is None:  # a change set that makes a stack leaves an empty one behind
                self.api.delete_stack(StackName=name)
        why = described.get("StatusReason", "")
        if described["Status"] == "FAILED" and not any(said in why for said in (NOTHING, "didn't contain changes")):
            raise SetupError(f"{name} cannot be changed so: {why}", "mend what it names, then again")
        changes = [_change(one["ResourceChange"]) for one in described["Changes"] if "ResourceChange" in one]
        for change in changes:
            self.say(f"{name}: would {change}")
        if not changes:
            self.say(f"{name}: would stay as it is")
        return changes

    def _changeable(self, name: str) -> dict[str, Any] | None:
        """The stack, None where it is to be made."""
        stack = self.find(name)
        status = stack["StackStatus"] if stack else ""
        if status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"):
            remedy = f"`aws cloudformation delete-stack --stack-name {name}`, then again"
            raise SetupError(f"{name} is in {status}: it was never made whole", remedy)
        if status.endswith("_IN_PROGRESS"):
            raise SetupError(f"{name} is in {status}: someone changes it now", "wait until that has ended, then again")
        if status == "UPDATE_ROLLBACK_FAILED":
            remedy = f"`aws cloudformation continue-update-rollback --stack-name {name}`, then again"
            raise SetupError(f"{name} is in {status}", remedy)
        return stack

    def _request(
        self, name: str, stack: dict[str, Any] | None, given: Mapping[str, str], template: str
    ) -> dict[str, Any]:
        known = self.parameters(template)
        now = {one["ParameterKey"]: one["ParameterValue"] for one in stack.get("Parameters", ())} if stack else {}
        values = {key: value for key, value in (now | dict(given)).items() if key in known}
        parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in sorted(values.items())]
        return {
            "StackName": name,
            "TemplateBody": template,
            "Parameters": parameters,
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
        }

    def parameters(self, template: str) -> set[str]:
        """Names of the parameters that a template takes."""
        return {one["ParameterKey"] for one in self.api.get_template_summary(TemplateBody=template)["Parameters"]}

    def _newest_event(self, name: str) -> str:
        events = self.api.describe_stack_events(StackName=name)["StackEvents"]
        return str(events[0]["EventId"]) if events else ""

    def _wait(self, name: str, since: str) -> None:
        """Says what happens until the stack has settled."""
        failures: list[str] = []
        while True:
            stack = self.api.describe_stacks(StackName=name)["Stacks"][0]
            for event in self._events(name, since):
                since = event["EventId"]
                status, why = event["ResourceStatus"], event.get("ResourceStatusReason", "")
                self.say(f"{_clock(event['Timestamp'])} {event['LogicalResourceId']} {status} {why}".rstrip())
                if status.endswith("_FAILED") and "cancelled" not in why:
                    failures.append(f"{event['LogicalResourceId']}: {why}")
            status = stack["StackStatus"]
            if status.endswith(FAILED):
                what = failures[0] if failures else stack.get("StackStatusReason", "")
                raise SetupError(
                    f"{name} is in {status}: {what}", "what was before is back; mend what it names, then again"
                )
            if status.endswith("_COMPLETE"):
                return
            time.sleep(self.poll)

    def _events(self, name: str, since: str) -> list[dict[str, Any]]:
        """What happened after the event `since`, the oldest first."""
        fresh: list[dict[str, Any]] = []
        for page in self.api.get_paginator("describe_stack_events").paginate(StackName=name):
            for event in page["StackEvents"]:
                if event["EventId"] == since:
                    return fresh[::-1]
                fresh.append(event)
        return fresh[::-1]


def outputs_of(stack: Mapping[str, Any]) -> dict[str, str]:
    """Outputs of a stack as CloudFormation describes it."""
    return {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", ())}


def _change(told: Mapping[str, Any]) -> Change:
    return Change(told["Action"], told["LogicalResourceId"], told["ResourceType"], told.get("Replacement", "False"))


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}"
