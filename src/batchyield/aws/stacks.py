"""CloudFormation stacks, changed by change sets: what will change is told before it does, and what happens meanwhile."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from batchyield.errors import SetupError

Say = Callable[[str], None]

POLL = 5.0
"""Seconds between two questions."""

GONE = "does not exist"
NOTHING = ("didn't contain changes", "No updates are to be performed")
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
            raise SetupError(f"there is no stack {name} in this account and region", "docs/deploy-aws.md has the steps")
        return outputs_of(stack)

    def change(
        self, name: str, given: Mapping[str, str], template: str | None = None, *, dry_run: bool = False
    ) -> list[Change]:
        """Makes or updates a stack; what changed, nothing where it is so already.

        Args:
            name: of the stack.
            given: parameters; what is not given stays as it was, or has its default.
            template: the text of it; None: the one that the stack has.
            dry_run: tell what would change, and change nothing.

        Raises:
            SetupError: there is no such stack, it is in no state to be changed, or the change failed; CloudFormation has
                then put the stack back.
        """
        stack = self.find(name)
        if stack is None and template is None:
            raise SetupError(f"there is no stack {name} in this account and region", "docs/deploy-aws.md has the steps")
        self._changeable(name, stack)
        described = self._describe(name, stack, given, template)
        if described is None:
            self.say(f"{name}: as it was")
            return []
        changes = [_change(one["ResourceChange"]) for one in described["Changes"] if "ResourceChange" in one]
        for change in changes:
            self.say(f"{name}: {change}")
        if dry_run:
            self.api.delete_change_set(ChangeSetName=described["ChangeSetId"])
            if stack is None:
                self.api.delete_stack(StackName=name)
            return changes
        since = self._newest_event(name)
        self.api.execute_change_set(ChangeSetName=described["ChangeSetId"])
        self._wait(name, since)
        return changes

    def _changeable(self, name: str, stack: dict[str, Any] | None) -> None:
        status = stack["StackStatus"] if stack else ""
        if status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"):
            raise SetupError(
                f"{name} is in {status}: it was never made whole",
                f"`aws cloudformation delete-stack --stack-name {name}`, then again",
            )
        if status.endswith("_IN_PROGRESS"):
            raise SetupError(f"{name} is in {status}: someone changes it now", "wait until that has ended, then again")
        if status == "UPDATE_ROLLBACK_FAILED":
            raise SetupError(
                f"{name} is in {status}",
                f"`aws cloudformation continue-update-rollback --stack-name {name}`, then again",
            )

    def _describe(
        self, name: str, stack: dict[str, Any] | None, given: Mapping[str, str], template: str | None
    ) -> dict[str, Any] | None:
        """The change set that would do it; None where there is nothing to do."""
        known = self._parameters(name, template)
        if unknown := sorted(set(given) - known):
            raise SetupError(f"the template of {name} has no parameter {', '.join(unknown)}", "leave it out")
        before = {one["ParameterKey"] for one in stack.get("Parameters", ())} if stack else set()
        parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in sorted(given.items())]
        parameters += [{"ParameterKey": key, "UsePreviousValue": True} for key in sorted(before & known - set(given))]
        source = {"UsePreviousTemplate": True} if template is None else {"TemplateBody": template}
        made = self.api.create_change_set(
            StackName=name,
            ChangeSetName=f"batchyield-{time.time_ns()}",
            ChangeSetType="UPDATE" if stack else "CREATE",
            Parameters=parameters,
            Capabilities=["CAPABILITY_NAMED_IAM"],
            **source,
        )
        while True:
            described: dict[str, Any] = self.api.describe_change_set(ChangeSetName=made["Id"])
            if described["Status"] == "CREATE_COMPLETE":
                return described
            if described["Status"] == "FAILED":
                self.api.delete_change_set(ChangeSetName=made["Id"])
                why = described.get("StatusReason", "")
                if any(said in why for said in NOTHING):
                    return None
                raise SetupError(f"{name} cannot be changed so: {why}", "mend what it names, then again")
            time.sleep(self.poll)

    def _parameters(self, name: str, template: str | None) -> set[str]:
        of = {"StackName": name} if template is None else {"TemplateBody": template}
        return {one["ParameterKey"] for one in self.api.get_template_summary(**of)["Parameters"]}

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
