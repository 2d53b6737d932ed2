"""A plugin for tests: asks the web through the bindings of wasi:http."""

import json
from urllib.parse import urlsplit

import wit_world.exports
from componentize_py_types import Err, Ok
from wit_world.exports import metadata
from wit_world.imports import outgoing_handler, streams, taskhost_task_types
from wit_world.imports import wasi_http_types as http

METHODS = {"GET": http.Method_Get, "POST": http.Method_Post}


class Metadata(wit_world.exports.Metadata):
    def describe(self):
        kind = metadata.Kind("web-python.ask", "Asks the web", None, None, None, [])
        return metadata.Descriptor("web-python", "1.0.0", "Asks the web", [kind], [])

    def validate_config(self, settings):
        pass


class Executor(wit_world.exports.Executor):
    def execute(self, task):
        asked = json.loads(task.input)
        try:
            status, body = send(asked.get("method", "GET"), asked["url"], asked.get("body", "").encode())
        except Err as error:
            code = type(error.value).__name__
            raise Err(taskhost_task_types.TaskError_Fatal(taskhost_task_types.Failure("web", code, None))) from error
        return json.dumps({"status": status, "body": body.decode()})


def send(method, url, body):
    """Sends one request, and waits for the whole answer."""
    parts = urlsplit(url)
    headers = http.Fields.from_list([("content-length", str(len(body)).encode())] if body else [])
    request = http.OutgoingRequest(headers)
    request.set_method(METHODS[method]())
    request.set_scheme(http.Scheme_Https() if parts.scheme == "https" else http.Scheme_Http())
    request.set_authority(parts.netloc)
    request.set_path_with_query(parts.path + (f"?{parts.query}" if parts.query else ""))
    outgoing = request.body()
    future = outgoing_handler.handle(request, None)
    with outgoing.write() as stream:
        for start in range(0, len(body), 4096):
            stream.blocking_write_and_flush(body[start : start + 4096])
    http.OutgoingBody.finish(outgoing, None)
    with future.subscribe() as ready:
        ready.block()
    answer = future.get()
    if not isinstance(answer, Ok):
        raise answer
    if not isinstance(answer.value, Ok):
        raise answer.value
    with answer.value.value as response, response.consume() as incoming:
        return response.status(), read(incoming)


def read(incoming):
    pieces = []
    with incoming.stream() as stream:
        while True:
            try:
                pieces.append(stream.blocking_read(65536))
            except Err as error:
                if isinstance(error.value, streams.StreamError_Closed):
                    return b"".join(pieces)
                raise
