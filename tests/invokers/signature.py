"""A signed request as it came over the wire, judged by botocore's signer."""

from datetime import UTC, datetime
from typing import Any

import pytest

ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLETOKEN/+=="


def fields(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Return method, target and headers of a request's head, names in lower case."""
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(": ") for line in lines)
    return method, target, {name.lower(): value for name, _, value in pairs}


def check_signed(head: bytes, body: bytes, region: str) -> None:
    """Sign the same request with botocore, at the same second, and compare."""
    auth = pytest.importorskip("botocore.auth")
    request_class: Any = pytest.importorskip("botocore.awsrequest").AWSRequest
    credentials_class: Any = pytest.importorskip("botocore.credentials").Credentials
    method, target, headers = fields(head)
    authorization, date = headers.pop("authorization"), headers.pop("x-amz-date")
    signed_names = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    given = {name: headers[name] for name in signed_names if name in headers and name != "host"}
    token = given.pop("x-amz-security-token", None)
    request = request_class(method, f"http://{headers['host']}{target}", headers=given, data=body)
    moment = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "get_current_datetime", lambda: moment)
        keys = credentials_class(ACCESS_KEY, SECRET_KEY, token)
        auth.SigV4Auth(keys, "lambda", region).add_auth(request)
    assert request.headers["Authorization"] == authorization
    named = {name for name in headers if name.startswith("x-amz-")}
    assert named <= set(signed_names), "every x-amz header is signed"
