"""The one door to functions: a name and a qualifier lead to a version, or nowhere."""

import pytest

from gateway.core.errors import FunctionNotFound
from gateway.core.invocation import FunctionRef, Invocation, InvocationResult
from gateway.functions.service import FunctionService
from gateway.testing import FakeInvoker

ARN = "arn:aws:lambda:eu-west-1:111122223333:function:shop"


def service(answer: bytes = b"{}") -> FunctionService:
    return FunctionService({"shop": FakeInvoker([InvocationResult(answer)])})


@pytest.mark.parametrize("qualifier", ["", "$LATEST"])
async def test_unqualified_name_means_the_latest_version(qualifier: str) -> None:
    invocation = Invocation("id", FunctionRef("shop", qualifier, ARN), b"{}")

    result = await service(b"1").invoke(invocation)

    assert (result.payload, result.executed_version) == (b"1", "$LATEST")


@pytest.mark.parametrize(
    ("reference", "arn"),
    [
        (FunctionRef("cart", "", ARN.replace("shop", "cart")), f"{ARN[:-4]}cart:$LATEST"),
        (FunctionRef("shop", "7", f"{ARN}:7"), f"{ARN}:7"),
        (FunctionRef("shop", "$latest", ARN), f"{ARN}:$latest"),
        (FunctionRef("cart", "", ""), "cart:$LATEST"),
        (FunctionRef("prod", "prod", f"{ARN[:-4]}prod"), f"{ARN[:-4]}prod:prod"),
    ],
)
def test_what_is_not_there_has_lambdas_text(reference: FunctionRef, arn: str) -> None:
    with pytest.raises(FunctionNotFound) as caught:
        service().invoke(Invocation("id", reference, b"{}"))

    assert str(caught.value) == f"Function not found: {arn}"
