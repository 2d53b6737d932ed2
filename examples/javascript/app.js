// Executes the kind `video.poster`: says what a video is, and stores the picture that stands for it.
//
// Everything at the top level runs once, when the component is built; its result is part of the component.

import { get } from 'taskhost:host/config@0.1.0';
import { report } from 'taskhost:host/context@0.1.0';
import { log } from 'taskhost:host/log@0.1.0';
import { probe, thumbnail } from 'taskhost:media/ffmpeg@0.1.0';

const INPUT = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  properties: {
    media: { type: 'string', minLength: 1, maxLength: 128 },
    at_ms: { type: 'integer', minimum: 0 },
    width: { type: 'integer', minimum: 16, maximum: 4096 },
    picture: { type: 'boolean' },
  },
  required: ['media'],
  additionalProperties: false,
};

export const metadata = {
  describe() {
    const kind = {
      name: 'video.poster',
      summary: 'Summarises a video and stores a picture of it',
      inputSchema: JSON.stringify(INPUT),
      attributes: [],
    };
    return { name: 'video-poster', version: '1.0.0', summary: 'Posters of videos', kinds: [kind], attributes: [] };
  },

  validateConfig(settings) {
    const width = new Map(settings).get('width') ?? '320';
    if (!/^[0-9]+$/.test(width)) {
      throw [{ code: 'bad-setting', message: `\`width\` is "${width}"; a number such as 320 would be right` }];
    }
  },
};

export const executor = {
  execute(task) {
    const { media, at_ms, width = Number(get('width') ?? 320), picture = true } = JSON.parse(task.input);
    const summary = summarise(media, asked(() => probe(media)));
    log('info', 'probed', [['container', summary.container]]);
    goingOn({ done: 1n, total: 2n, unit: 'steps', message: 'probed' });
    if (!picture) return JSON.stringify(summary);
    // A tenth into it: the first picture of a video is often black.
    const at = at_ms ?? Math.floor((summary.duration_ms ?? 0) / 10);
    const id = asked(() => thumbnail(media, BigInt(at), 'jpeg', width));
    return JSON.stringify({ ...summary, picture: { media: id, at_ms: at } });
  },
};

function summarise(media, info) {
  // A variant is an object with `tag` and `val`; 64-bit numbers are BigInt.
  const video = info.streams.find(({ tag }) => tag === 'video')?.val;
  if (!video) throw { tag: 'invalid-input', val: { code: 'no-video', message: `${media} has no moving pictures` } };
  return {
    container: info.container,
    duration_ms: info.duration === undefined ? null : Number(info.duration),
    bytes: Number(info.size),
    video: `${video.codec}, ${video.width}x${video.height}, ${video.framesPerSecond.toFixed(2)} frames/s`,
    sound: info.streams.some(({ tag }) => tag === 'audio'),
  };
}

// Reports progress, and stops when the host wants that.
function goingOn(progress) {
  const directive = report(progress);
  if (directive === 'cancel') throw { tag: 'cancelled' };
  if (directive === 'yield') throw { tag: 'yielded' };
}

// Asks ffmpeg; its error becomes the task's that fits.
function asked(question) {
  try {
    return question();
  } catch (error) {
    // Errors of the host carry a payload; anything else is a mistake in this file.
    if (error.payload === undefined) throw error;
    const { tag, val } = error.payload;
    const failure = { code: tag, message: typeof val === 'string' ? val : JSON.stringify(val ?? tag) };
    if (tag === 'cancelled') throw { tag: 'cancelled' };
    if (tag === 'not-found' || tag === 'bad-input') throw { tag: 'invalid-input', val: failure };
    if (tag === 'unavailable' || tag === 'timed-out') throw { tag: 'retry', val: { cause: failure } };
    throw { tag: 'fatal', val: failure };
  }
}
