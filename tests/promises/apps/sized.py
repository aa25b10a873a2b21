"""Answers with as many bytes as the path names."""


def handler(event, context):
    size = event["path"].removeprefix("/size/")
    body = "x" * int(size) if size.isdigit() else "hello"
    return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": body}
