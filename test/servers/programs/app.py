"""One application, for WSGI and ASGI."""


def answer(path, method, size):
    if path == "/large":
        return b"l" * 300_000
    return f"{method} {path}{f' {size}' if size else ''}\n".encode()


def app(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = answer(environ["PATH_INFO"], environ["REQUEST_METHOD"], len(environ["wsgi.input"].read(length)))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = answer(scope["path"], scope["method"], size)
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
