// Transformers.js in a worker, with as many threads as the machine has, from this server alone.

import {
  AutoProcessor,
  BaseStreamer,
  PaliGemmaForConditionalGeneration,
  RawImage,
  env,
} from '/npm/@huggingface/transformers/dist/transformers.min.js';

const RUNTIME = '/npm/onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify';
env.allowRemoteModels = false;
env.allowLocalModels = true;
env.localModelPath = '/models/';
env.useBrowserCache = false;
env.useWasmCache = false;
const { wasm, versions } = env.backends.onnx;
wasm.wasmPaths = { mjs: `${RUNTIME}.mjs`, wasm: `${RUNTIME}.wasm` };
wasm.numThreads = navigator.hardwareConcurrency;

let processor, model, picture;

// Says when a token comes; the first call has the prompt.
class Ticker extends BaseStreamer {
  prompt = true;

  put() {
    if (!this.prompt) postMessage({ type: 'token' });
    this.prompt = false;
  }

  end() {}
}

const answers = {
  async load({ model: name, device, dtype }) {
    processor = await AutoProcessor.from_pretrained(name);
    model = await PaliGemmaForConditionalGeneration.from_pretrained(name, { device, dtype });
    const adapter = { threads: wasm.numThreads, transformers: env.version, runtime: versions.web };
    postMessage({ type: 'ready', adapter });
  },

  async picture({ bytes }) {
    picture = await RawImage.fromBlob(new Blob([bytes]));
    postMessage({ type: 'picture' });
  },

  async run({ prompt, tokens }) {
    const inputs = await processor(picture, `<image>${prompt}`);
    const made = await model.generate({
      ...inputs,
      max_new_tokens: tokens,
      do_sample: false,
      streamer: new Ticker(),
    });
    const ids = Array.from(made.data, Number).slice(inputs.input_ids.dims[1]);
    postMessage({ type: 'done', answer: { token_ids: ids } });
  },
};

onmessage = ({ data }) =>
  answers[data.type](data).catch((error) =>
    postMessage({ type: 'failed', message: String(error.stack ?? error) }),
  );
postMessage({ type: 'started' });
