"""Executes the kind `{{name}}`: adds two numbers.

Everything at the top level runs once, when the component is built. `execute` runs once an attempt, in a fresh copy of
what was there then: nothing is remembered from one attempt to the next.
"""

import json

import wit_world.exports
from componentize_py_types import Err
from wit_world.exports import metadata
from wit_world.imports import config, context, log, types

# The host refuses tasks whose input does not match.
INPUT = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}


class Metadata(wit_world.exports.Metadata):
    def describe(self):
        kind = metadata.Kind("{{name}}", "Adds two numbers", json.dumps(INPUT), None, None, [])
        return metadata.Descriptor("{{name}}", "0.1.0", "Adds two numbers", [kind], [])

    def validate_config(self, settings):
        limit = dict(settings).get("limit", "0")
        if not limit.isdigit():
            raise Err([types.Failure("bad-setting", f"`limit` is {limit!r}, which is not a number", None)])


class Executor(wit_world.exports.Executor):
    def execute(self, task):
        numbers = json.loads(task.input)
        log.log(log.Level.INFO, "adding", [("attempt", str(task.attempt))])
        total = numbers["a"] + numbers["b"]
        limit = int(config.get("limit") or 0)
        if limit and abs(total) > limit:
            # InvalidInput blames whoever created the task; Fatal is never retried, Retry is.
            failure = types.Failure("too-large", f"the sum {total} is beyond the limit {limit}", None)
            raise Err(types.TaskError_InvalidInput(failure))
        # Answers what the host wants: a long job asks now and then, and stops when it is not PROCEED.
        context.report(types.Progress(done=1, total=1, unit="sums", message=None))
        return json.dumps({"sum": total})
