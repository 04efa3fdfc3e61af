// Loads a model with one engine, asks the same question several times, and leaves what it measured in
// `window.outcome`. Both engines live in a worker; every time is taken here, when a message arrives.
//
// Query: engine (ours, webgpu, wasm), model (a folder), recipe or dtype, picture, prompt, tokens,
// answers.

const query = new URL(location).searchParams;
const number = (name) => Number(query.get(name));
const now = () => performance.now();

// A worker whose messages are waited for.
class Conversation {
  constructor(url) {
    this.listeners = new Set();
    this.worker = new Worker(url, { type: 'module' });
    this.worker.onmessage = ({ data }) => this.listeners.forEach((listener) => listener(data));
    this.worker.onerror = (event) =>
      this.listeners.forEach((listener) => listener({ type: 'failed', message: event.message }));
  }

  say(message, transferred = []) {
    this.worker.postMessage(message, transferred);
  }

  // The first message of one of these types.
  until(...types) {
    return new Promise((resolve, reject) => {
      const listener = (data) => {
        if (data.type === 'failed') {
          reject(new Error(data.problem?.message ?? data.message));
        } else if (!types.includes(data.type)) {
          return;
        } else {
          resolve(data);
        }
        this.listeners.delete(listener);
      };
      this.listeners.add(listener);
    });
  }
}

// Times of tokens, from the question on, in milliseconds.
async function clocked(conversation, ask) {
  const tokens = [];
  const started = now();
  const listener = (data) => data.type === 'token' && tokens.push(now() - started);
  conversation.listeners.add(listener);
  const done = conversation.until('done');
  ask();
  const { answer } = await done;
  conversation.listeners.delete(listener);
  return { token_ms: tokens, done_ms: now() - started, ids: answer.token_ids, stages: answer.timings };
}

async function bytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.arrayBuffer();
}

const ours = {
  async load() {
    this.talk = new Conversation('/app/worker_loader.js');
    await this.talk.until('started');
    const url = new URL(`/models/${query.get('model')}/model`, location).href;
    const source = { from: 'url', url };
    const wanted = { source, recipe: query.get('recipe'), token: null };
    const ready = this.talk.until('ready');
    this.talk.say({ type: 'load', id: 1, wanted });
    return (await ready).adapter;
  },

  // A picture of its own for every answer: one that was asked about before is not encoded again.
  async answer(picture, turn) {
    const taken = this.talk.until('picture');
    this.talk.say({ type: 'picture', id: 10 * turn, picture: turn, bytes: picture }, [picture]);
    await taken;
    return clocked(this.talk, () =>
      this.talk.say({
        type: 'run',
        id: 10 * turn + 1,
        pictures: [turn],
        prompt: query.get('prompt'),
        max_new_tokens: number('tokens'),
      }),
    );
  },
};

const theirs = {
  async load() {
    this.talk = new Conversation('theirs.js');
    await this.talk.until('started');
    const ready = this.talk.until('ready');
    this.talk.say({
      type: 'load',
      model: `${query.get('model')}/onnx`,
      device: query.get('engine'),
      dtype: query.get('dtype'),
    });
    return (await ready).adapter;
  },

  async answer(picture) {
    const taken = this.talk.until('picture');
    this.talk.say({ type: 'picture', bytes: picture }, [picture]);
    await taken;
    return clocked(this.talk, () =>
      this.talk.say({ type: 'run', prompt: query.get('prompt'), tokens: number('tokens') }),
    );
  },
};

async function measure() {
  const engine = query.get('engine') === 'ours' ? ours : theirs;
  const started = now();
  const adapter = await engine.load();
  const load_ms = now() - started;
  const answers = [];
  for (let turn = 1; turn <= number('answers'); turn++) {
    answers.push(await engine.answer(await bytes(`/models/${query.get('model')}/picture.png`), turn));
  }
  const webgpu = (await navigator.gpu?.requestAdapter())?.info;
  const { vendor, architecture, description } = webgpu ?? {};
  return {
    load_ms,
    answers,
    adapter,
    webgpu: { vendor, architecture, description },
    user_agent: navigator.userAgent,
    isolated: crossOriginIsolated,
  };
}

measure().then(
  (outcome) => (window.outcome = outcome),
  (error) => (window.outcome = { error: String(error) }),
);
