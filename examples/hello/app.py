"""The function that `make serve` and the README run: it greets the caller."""


def handler(event, context):
    """Answer every request with one line of text, and say in a second one what came as base64."""
    body = f"Hello from Lambda! {event['httpMethod']} {event['path']}\n"
    if event["isBase64Encoded"]:
        body += f"Your body came as {len(event['body'])} characters of base64.\n"
    # A target group sends, and reads, one of two forms: one value per header, or a list of them.
    if "multiValueHeaders" in event:
        headers = {"multiValueHeaders": {"content-type": ["text/plain; charset=utf-8"]}}
    else:
        headers = {"headers": {"content-type": "text/plain; charset=utf-8"}}
    return {"statusCode": 200, "body": body, "isBase64Encoded": False, **headers}
