"""A FastAPI application, and the handler that Mangum makes of it."""

import hashlib

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from mangum import Mangum
from starlette.middleware.gzip import GZipMiddleware

app = FastAPI()
app.add_middleware(GZipMiddleware, minimum_size=500)
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]


@app.api_route("/echo/{rest:path}", methods=METHODS)
@app.api_route("/echo", methods=METHODS)
async def echo(request: Request):
    """Answer with everything an application looks at."""
    return {
        "method": request.method,
        "path": request.url.path,
        "query": request.query_params.multi_items(),
        "one": request.headers.get("x-one"),
        "many": request.headers.getlist("x-many"),
        "host": request.headers.get("host"),
        "cookies": request.cookies,
        "type": request.headers.get("content-type"),
        "body": (await request.body()).hex(),
    }


@app.get("/items/{number}")
async def item(number: int, flag: bool = False):
    """Answer with what was validated."""
    return {"number": number, "flag": flag}


@app.post("/form")
async def form(request: Request):
    """Answer with every field, and what a file is."""
    fields = []
    async with request.form() as sent:
        for name, value in sent.multi_items():
            fields.append([name, value if isinstance(value, str) else await described(value)])
    return fields


async def described(file):
    """Return what a file is."""
    content = await file.read()
    digest = hashlib.sha256(content).hexdigest()
    return [file.filename, file.content_type, len(content), digest]


@app.get("/download")
@app.head("/download")
async def download():
    """Answer with every byte there is."""
    disposition = {"Content-Disposition": 'attachment; filename="all.bin"'}
    return Response(bytes(range(256)), headers=disposition, media_type="application/octet-stream")


@app.get("/cookies")
async def cookies():
    """Set two cookies and delete one."""
    response = PlainTextResponse("set")
    response.set_cookie("session", "a=b; c", path="/shop", httponly=True, samesite="strict")
    response.set_cookie("theme", "dark", max_age=3600)
    # delete_cookie() would say now, which is another second in the answer to compare with.
    response.set_cookie("old", "", max_age=0, expires="Thu, 01 Jan 1970 00:00:00 GMT")
    return response


@app.get("/repeated")
async def repeated():
    """Answer with a header on two lines."""
    response = PlainTextResponse("twice")
    response.headers.append("X-Tag", "one")
    response.headers.append("X-Tag", "two")
    return response


@app.get("/redirect")
async def redirect():
    """Send elsewhere."""
    return RedirectResponse("/items/1?flag=yes#top", status_code=303)


@app.get("/slash/")
async def slash():
    """Be reached through a slash that Starlette adds by a redirect."""
    return "here"


@app.get("/empty")
async def empty():
    """Answer 200 with nothing."""
    return Response()


@app.delete("/no-content")
async def no_content():
    """Answer 204."""
    return Response(status_code=204)


@app.get("/unicode")
async def unicode():
    """Answer with text beyond ASCII."""
    return PlainTextResponse("größer 日本語 🐍")


@app.get("/latin")
async def latin():
    """Answer with text that is not UTF-8."""
    return Response("größer".encode("latin-1"), media_type="text/plain; charset=iso-8859-1")


@app.get("/long")
async def long():
    """Answer with something worth compressing."""
    return PlainTextResponse("line\n" * 1000)


@app.get("/teapot")
async def teapot():
    """Refuse."""
    raise HTTPException(418, detail="short and stout", headers={"X-Reason": "tea"})


@app.get("/crash")
async def crash():
    """Fail."""
    raise RuntimeError("out of tea")


handler = Mangum(app)
