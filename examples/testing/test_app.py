"""How to test an ALB handler with pytest: no server, no socket, the real codec."""

from gateway.testing import client


def handler(event, context):
    """Greet the name in the query."""
    name = event["queryStringParameters"].get("name", "stranger")
    return {
        "statusCode": 200,
        "headers": {"content-type": "text/plain"},
        "body": f"Hello, {name}!",
    }


def test_greets_by_name():
    with client(handler) as web:
        response = web.get("/greeting", params={"name": "Ada"})

    assert response.text == "Hello, Ada!"
    assert web.events[0]["path"] == "/greeting"
    assert web.results[0]["statusCode"] == 200


def test_a_number_in_a_header_is_what_alb_refuses():
    def broken(event, context):
        return {"statusCode": 200, "headers": {"content-length": 17}}

    with client(broken) as web:
        response = web.get("/")

    assert response.status_code == 502
    assert web.outcomes[0].detail == "headers.content-length is number 17; must be a string"
