"""A Flask application, and the handler that apig-wsgi makes of it.

Run as a program it is served straight, by Werkzeug's own server, on a free port.
"""

import hashlib

from apig_wsgi import make_lambda_handler
from flask import Flask, Response, abort, jsonify, make_response, redirect, request
from werkzeug.serving import make_server

app = Flask(__name__)
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]


@app.route("/echo", defaults={"rest": ""}, methods=METHODS)
@app.route("/echo/<path:rest>", methods=METHODS)
def echo(rest):
    """Answer with everything an application looks at."""
    return jsonify(
        method=request.method,
        path=request.path,
        query=list(request.args.items(multi=True)),
        one=request.headers.get("x-one"),
        many=request.headers.get("x-many"),
        host=request.headers.get("host"),
        cookies=request.cookies.to_dict(),
        type=request.headers.get("content-type"),
        body=request.get_data().hex(),
    )


@app.get("/items/<int:number>")
def item(number):
    """Answer with what was converted."""
    return jsonify(number=number)


@app.post("/form")
def form():
    """Answer with every field, and what a file is."""
    fields = [[name, value] for name, value in request.form.items(multi=True)]
    for name, file in request.files.items(multi=True):
        content = file.read()
        digest = hashlib.sha256(content).hexdigest()
        fields.append([name, [file.filename, file.content_type, len(content), digest]])
    return jsonify(fields)


@app.get("/download")
def download():
    """Answer with every byte there is."""
    disposition = {"Content-Disposition": 'attachment; filename="all.bin"'}
    return Response(bytes(range(256)), headers=disposition, mimetype="application/octet-stream")


@app.get("/cookies")
def cookies():
    """Set two cookies and delete one."""
    response = make_response("set")
    response.set_cookie("session", "a=b; c", path="/shop", httponly=True, samesite="Strict")
    response.set_cookie("theme", "dark", max_age=None)
    response.delete_cookie("old")
    return response


@app.get("/repeated")
def repeated():
    """Answer with a header on two lines."""
    response = make_response("twice")
    response.headers.add("X-Tag", "one")
    response.headers.add("X-Tag", "two")
    return response


@app.get("/redirect")
def away():
    """Send elsewhere."""
    return redirect("/items/1?flag=yes#top", 303)


@app.get("/slash/")
def slash():
    """Be reached through a slash that Flask adds by a redirect."""
    return "here"


@app.get("/empty")
def empty():
    """Answer 200 with nothing."""
    return ""


@app.delete("/no-content")
def no_content():
    """Answer 204."""
    return "", 204


@app.get("/unicode")
def unicode():
    """Answer with text beyond ASCII."""
    return Response("größer 日本語 🐍", mimetype="text/plain")


@app.get("/latin")
def latin():
    """Answer with text that is not UTF-8."""
    return Response("größer".encode("latin-1"), content_type="text/plain; charset=iso-8859-1")


@app.get("/teapot")
def teapot():
    """Refuse."""
    abort(418, "short and stout")


@app.get("/crash")
def crash():
    """Fail."""
    raise RuntimeError("out of tea")


handler = make_lambda_handler(app)

if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
