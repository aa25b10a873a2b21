"""One Lambda target group: the function that is registered in it, and the form of its events."""

from dataclasses import dataclass

from gateway.config.function import Function
from gateway.core.arn import checked_target_group_arn, target_group_arn


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """A target group with one registered function."""

    name: str
    function: str
    """The name of the function."""
    arn: str = ""
    """Empty: made from the function's region and account and the name of the group."""
    multi_value_headers: bool = False
    """`lambda.multi_value_headers.enabled` (alb.md 4.1)."""

    def completed_arn(self, function: Function) -> str:
        """Return the ARN that events name; raises InvalidSetting."""
        if self.arn:
            return checked_target_group_arn(self.arn)
        return target_group_arn(function.region, function.account_id, self.name)
