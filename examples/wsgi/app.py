"""A WSGI application with a global that a request changes, served by the standard library."""
from wsgiref.simple_server import make_server

session = {}


def app(environ, start_response):
    query = environ["QUERY_STRING"]
    if query:
        name, _, value = query.partition("=")
        session[name] = value
    start_response("200 OK", [("content-type", "text/plain")])
    return [f"{environ['PATH_INFO']} {session}\n".encode()]


make_server("127.0.0.1", 8000, app).serve_forever()
