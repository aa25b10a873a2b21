"""A target group: the ARN that events name."""

import pytest

from gateway.config.function import DEFAULT_ACCOUNT_ID, DEFAULT_REGION, Function
from gateway.config.target_group import TargetGroup
from gateway.core.arn import checked_target_group_arn
from gateway.core.errors import InvalidSetting

ARN = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop/0a1b2c3d4e5f6071"
SHOP = Function("app.handler", name="shop")


def test_target_group_is_made_from_region_account_and_name() -> None:
    arn = TargetGroup("shop", "shop").completed_arn(SHOP)

    assert checked_target_group_arn(arn) == arn
    assert f":{DEFAULT_REGION}:{DEFAULT_ACCOUNT_ID}:targetgroup/shop/" in arn


def test_given_target_group_is_kept_and_checked() -> None:
    assert TargetGroup("shop", "shop", ARN).completed_arn(SHOP) == ARN
    with pytest.raises(InvalidSetting):
        TargetGroup("shop", "shop", "shop").completed_arn(SHOP)
