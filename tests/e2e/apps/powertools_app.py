"""An application on the ALB resolver of Powertools for AWS Lambda."""

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import ALBResolver, Response, content_types
from aws_lambda_powertools.event_handler.exceptions import BadRequestError, NotFoundError
from aws_lambda_powertools.shared.cookies import Cookie

app = ALBResolver(decode_query_parameters=True)
logger = Logger(service="shop")


@app.get("/items/<number>")
def item(number):
    """Answer with a dictionary, which becomes JSON."""
    return {"number": number}


@app.post("/items")
def create():
    """Answer with what came as JSON, and another status."""
    return {"created": app.current_event.json_body["name"]}, 201


@app.get("/query")
def query():
    """Answer with the query as Powertools resolves it."""
    return app.current_event.resolved_query_string_parameters


@app.get("/header")
def header():
    """Answer with a header."""
    return {"x-one": app.current_event.resolved_headers_field.get("x-one")}


@app.get("/image")
def image():
    """Answer with bytes."""
    return Response(200, content_type="image/png", body=bytes(range(256)))


@app.get("/cookies")
def cookies():
    """Set two cookies."""
    both = [Cookie("a", "1"), Cookie("b", "2")]
    return Response(200, content_type=content_types.TEXT_PLAIN, body="set", cookies=both)


@app.get("/bad")
def bad():
    """Refuse in the way of Powertools."""
    raise BadRequestError("no such size")


@app.exception_handler(KeyError)
def missing(error):
    """Turn an exception into a reply."""
    return Response(409, content_type=content_types.TEXT_PLAIN, body=f"missing {error}")


@app.get("/missing")
def fails():
    """Raise what the handler above takes."""
    raise KeyError("size")


@app.get("/crash")
def crash():
    """Raise what no exception handler takes."""
    raise RuntimeError("out of tea")


@app.not_found
def not_found(_error: NotFoundError):
    """Answer every other path."""
    return Response(404, content_type=content_types.TEXT_PLAIN, body="nothing here")


@logger.inject_lambda_context
def handler(event, context):
    """Log once, then resolve."""
    logger.info("resolving")
    return app.resolve(event, context)
