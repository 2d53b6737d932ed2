// A plugin for tests: asks the web by `fetch`.

export const metadata = {
  describe() {
    const kind = { name: 'web-js.ask', summary: 'Asks the web', attributes: [] };
    return { name: 'web-js', version: '1.0.0', summary: 'Asks the web', kinds: [kind], attributes: [] };
  },

  validateConfig() {},
};

export const executor = {
  async execute(task) {
    const { url, method, body } = JSON.parse(task.input);
    let answer;
    try {
      answer = await fetch(url, { method, body });
    } catch (error) {
      throw { tag: 'fatal', val: { code: 'web', message: String(error) } };
    }
    return JSON.stringify({ status: answer.status, body: await answer.text() });
  },
};
