"""Executes the kind `text.stats`: counts what is in a text, or in a text file of the media library.

Everything at the top level runs once, when the component is built; its result is part of the component. What is imported
here is there later, and nothing else: there are no files to import from.
"""

import codecs
import heapq  # noqa: F401 (Counter.most_common imports it when it is called)
import json
import re
from collections import Counter

import wit_world.exports
from componentize_py_types import Err
from wit_world.exports import metadata
from wit_world.imports import config, context, library, log, types

INPUT = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "media": {"type": "string", "minLength": 1, "maxLength": 128},
        "top": {"type": "integer", "minimum": 0, "maximum": 100},
    },
    "oneOf": [{"required": ["text"]}, {"required": ["media"]}],
    "additionalProperties": False,
}
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
CHUNK = 256 * 1024


class Metadata(wit_world.exports.Metadata):
    def describe(self):
        kind = metadata.Kind("text.stats", "Counts words, lines and characters", json.dumps(INPUT), None, None, [])
        return metadata.Descriptor("text-stats", "1.0.0", "Counts what is in a text", [kind], [])

    def validate_config(self, settings):
        top = dict(settings).get("top", "10")
        if not top.isdigit():
            raise Err([types.Failure("bad-setting", f"`top` is {top!r}; a number such as 10 would be right", None)])


class Executor(wit_world.exports.Executor):
    def execute(self, task):
        wanted = json.loads(task.input)
        stats = Stats()
        if "text" in wanted:
            stats.add(wanted["text"])
        else:
            read(wanted["media"], stats)
        top = wanted.get("top", int(config.get("top") or 10))
        log.log(log.Level.INFO, "counted", [("characters", str(stats.characters))])
        return json.dumps(stats.result(top), ensure_ascii=False)


class Stats:
    def __init__(self):
        self.characters = self.lines = 0
        self.words = Counter()
        self.rest = ""

    def add(self, text):
        """Counts a piece; a word that may go on in the next one is kept for then."""
        self.characters += len(text)
        self.lines += text.count("\n")
        text = self.rest + text
        cut = len(text)
        while cut and not text[cut - 1].isspace() and len(text) - cut < 256:
            cut -= 1
        self.rest = text[cut:]
        self.words.update(word.lower() for word in WORD.findall(text[:cut]))

    def result(self, top):
        self.words.update(word.lower() for word in WORD.findall(self.rest))
        return {
            "characters": self.characters,
            "lines": self.lines,
            "words": self.words.total(),
            "distinct": len(self.words),
            "top": [{"word": word, "count": count} for word, count in self.words.most_common(top)],
        }


def read(media, stats):
    """Reads a file piece by piece: it may be larger than the plugin's memory."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    try:
        size = library.get(media).size
        for offset in range(0, size, CHUNK):
            stats.add(decoder.decode(library.read(media, offset, CHUNK), final=offset + CHUNK >= size))
            going_on(types.Progress(min(offset + CHUNK, size), size, "bytes", None))
    except Err as error:
        raise task_error(error.value) from error


def going_on(progress):
    """Reports progress, and stops when the host wants that."""
    directive = context.report(progress)
    if directive == context.Directive.CANCEL:
        raise Err(types.TaskError_Cancelled())
    if directive == context.Directive.YIELD:
        raise Err(types.TaskError_Yielded())


def task_error(error):
    """What an error of the library means for the task."""
    match error:
        case library.Error_NotFound():
            return Err(types.TaskError_InvalidInput(types.Failure("no-such-media", "there is no such file", None)))
        case library.Error_Denied(why):
            return Err(types.TaskError_Fatal(types.Failure("denied", why, None)))
        case library.Error_Unavailable(why):
            return Err(types.TaskError_Retry(types.RetryRequest(types.Failure("unavailable", why, None), None)))
        case types.TaskError_Cancelled() | types.TaskError_Yielded():
            return Err(error)
        case _:
            return Err(types.TaskError_Fatal(types.Failure("library", str(error), None)))
