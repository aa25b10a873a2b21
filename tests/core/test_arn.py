"""ARNs: their form, what is refused, what stays the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.arn import (
    checked_target_group_arn,
    function_arn,
    partition,
    target_group_arn,
)
from gateway.core.errors import InvalidSetting

ACCOUNT = "123456789012"
REGIONS = ["us-east-1", "ap-southeast-12", "cn-north-1", "us-gov-west-1", "us-isob-east-1"]


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("us-east-1", "aws"),
        ("eu-west-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
        ("eu-isoe-west-1", "aws-iso-e"),
        ("us-isof-south-1", "aws-iso-f"),
        ("eusc-de-east-1", "aws-eusc"),
    ],
)
def test_region_belongs_to_its_partition(region: str, expected: str) -> None:
    assert partition(region) == expected


def test_function_arn_has_awss_form() -> None:
    assert function_arn("eu-west-1", ACCOUNT, "my_shop-2") == (
        "arn:aws:lambda:eu-west-1:123456789012:function:my_shop-2"
    )
    assert function_arn("cn-north-1", ACCOUNT, "f").startswith("arn:aws-cn:lambda:")


@pytest.mark.parametrize("region", REGIONS)
def test_region_names_pass(region: str) -> None:
    assert f":{region}:" in function_arn(region, ACCOUNT, "f")


@pytest.mark.parametrize("region", ["", "useast1", "us-east", "US-EAST-1", "us-east-1\n", "us-1"])
def test_what_is_not_a_region_is_refused(region: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        function_arn(region, ACCOUNT, "f")

    assert str(caught.value) == f"region {region!r} is not valid; it needs a name like eu-west-1"


@pytest.mark.parametrize(
    "account_id", ["", "12345678901", "1234567890123", "12345678901x", "१" * 12]
)
def test_account_id_needs_twelve_digits(account_id: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        function_arn("us-east-1", account_id, "f")

    assert str(caught.value) == f"account id {account_id!r} is not valid; it needs twelve digits"


@pytest.mark.parametrize("name", ["", 65 * "x", "a.b", "a:b", "a b", "é", "f\n"])
def test_function_name_that_lambda_refuses_is_refused(name: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        function_arn("us-east-1", ACCOUNT, name)

    assert str(caught.value) == (
        f"function name {name!r} is not valid; it needs letters, digits, - and _, up to 64"
    )


def test_function_name_of_64_characters_is_the_longest_that_passes() -> None:
    assert function_arn("us-east-1", ACCOUNT, 64 * "x").endswith(64 * "x")


def test_target_group_of_a_name_is_always_the_same() -> None:
    assert target_group_arn("eu-west-1", ACCOUNT, "shop") == (
        "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/shop/8d9001d32c6a703d"
    )


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("my_shop.v2", "my-shop-v2"),
        ("_shop_", "shop"),
        ("___", "function"),
        (33 * "x", 32 * "x"),
        (31 * "x" + "_x", 31 * "x"),
    ],
)
def test_target_group_is_called_like_the_function_as_far_as_elb_allows(
    name: str, short: str
) -> None:
    assert target_group_arn("eu-west-1", ACCOUNT, name).split("/")[1] == short


def test_target_groups_of_names_that_look_alike_differ() -> None:
    made = {target_group_arn("eu-west-1", ACCOUNT, name) for name in ("a_b", "a-b", "a.b")}

    assert len(made) == 3


@given(
    st.text(st.characters(codec="ascii", categories=("L", "Nd"), include_characters="-_"))
    | st.text(),
    st.sampled_from(REGIONS),
)
def test_any_name_gives_a_target_group_that_aws_would_take(name: str, region: str) -> None:
    arn = target_group_arn(region, ACCOUNT, name)

    short = arn.split("/")[1]
    assert checked_target_group_arn(arn) == arn
    assert short == short.strip("-")
    assert arn.startswith(f"arn:{partition(region)}:elasticloadbalancing:{region}:{ACCOUNT}:")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("arn:", ""),
        ("aws:", "gcp:"),
        ("elasticloadbalancing", "lambda"),
        ("123456789012", "१२३४५६७८९०१२"),
        ("123456789012", "12345"),
        ("/shop/", "/my_shop/"),
        ("/shop/", f"/{33 * 'x'}/"),
        ("/shop/", "//"),
        ("8d9001d32c6a703d", "8D9001D32C6A703D"),
        ("8d9001d32c6a703d", "8d9001d32c6a703"),
        ("8d9001d32c6a703d", "8d9001d32c6a703d\n"),
    ],
)
def test_what_is_not_a_target_group_arn_is_refused(old: str, new: str) -> None:
    given_arn = target_group_arn("eu-west-1", ACCOUNT, "shop").replace(old, new)

    with pytest.raises(InvalidSetting) as caught:
        checked_target_group_arn(given_arn)

    assert str(caught.value) == (
        f"target group ARN {given_arn!r} is not valid; it needs the form "
        "arn:aws:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/16HEX"
    )


def test_target_group_name_of_32_characters_is_the_longest_that_passes() -> None:
    assert checked_target_group_arn(
        target_group_arn("eu-west-1", ACCOUNT, "shop").replace("/shop/", f"/{32 * 'x'}/")
    )
