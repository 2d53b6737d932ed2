// Executes the kind `{{name}}`: adds two numbers.
//
// Everything at the top level runs once, when the component is built. `execute` runs once an attempt, in a fresh copy of
// what was there then: nothing is remembered from one attempt to the next.

import { get } from 'taskhost:host/config@0.1.0';
import { report } from 'taskhost:host/context@0.1.0';
import { log } from 'taskhost:host/log@0.1.0';

// The host refuses tasks whose input does not match.
const INPUT = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  properties: { a: { type: 'number' }, b: { type: 'number' } },
  required: ['a', 'b'],
  additionalProperties: false,
};

export const metadata = {
  describe() {
    const kind = { name: '{{name}}', summary: 'Adds two numbers', inputSchema: JSON.stringify(INPUT), attributes: [] };
    return { name: '{{name}}', version: '0.1.0', summary: 'Adds two numbers', kinds: [kind], attributes: [] };
  },

  validateConfig(settings) {
    const limit = new Map(settings).get('limit') ?? '0';
    if (!/^[0-9]+$/.test(limit)) {
      throw [{ code: 'bad-setting', message: `\`limit\` is "${limit}", which is not a number` }];
    }
  },
};

export const executor = {
  execute(task) {
    const { a, b } = JSON.parse(task.input);
    log('info', 'adding', [['attempt', String(task.attempt)]]);
    const sum = a + b;
    const limit = Number(get('limit') ?? 0);
    if (limit && Math.abs(sum) > limit) {
      // `invalid-input` blames whoever created the task; `fatal` is never retried, `retry` is.
      throw { tag: 'invalid-input', val: { code: 'too-large', message: `the sum ${sum} is beyond the limit ${limit}` } };
    }
    // Answers what the host wants: a long job asks now and then, and stops when it is not 'proceed'. 64-bit numbers are BigInt.
    report({ done: 1n, total: 1n, unit: 'sums' });
    return JSON.stringify({ sum });
  },
};
