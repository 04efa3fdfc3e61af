//! A server that is a script in place of `fetch`.

use js_sys::{Array, Function, Reflect};
use paligemma_browser::http::{HttpFolder, Patience};
use paligemma_checkpoint::SourceError;
use wasm_bindgen::JsValue;

/// What every script may use: the file, and usual answers.
const PRELUDE: &str = r"
const asked = init.headers?.get('Range')?.match(/^bytes=(\d+)-(\d*)$/);
const [a, b] = asked ? [+asked[1], asked[2] ? +asked[2] + 1 : SIZE] : [0, SIZE];
const head = init.method === 'HEAD';
const attempt = log.push(`${init.method} ${a}..${asked && !asked[2] ? '' : b}`);
init.signal.addEventListener('abort', () => log.push('abort'));
const gets = log.filter(line => line.startsWith('GET')).length;
// Chunks of some bytes from a place on, each made when it is asked for. After so many bytes the
// connection breaks, or nothing comes any more.
const streamed = (status, headers, {from = 0, to = SIZE, chunk = 100, cut, stall, end} = {}) => {
  let at = from;
  const stop = Math.min(to, from + (cut ?? stall ?? end ?? SIZE));
  return new Response(new ReadableStream({
    start(controller) {
      init.signal.addEventListener('abort', () => {
        try { controller.error(new DOMException('aborted', 'AbortError')); } catch {}
      });
    },
    pull(controller) {
      if (at >= stop) {
        if (cut !== undefined) return controller.error(new TypeError('network error'));
        if (stall !== undefined) return new Promise(() => {});
        return controller.close();
      }
      log.push(`chunk ${at}`);
      controller.enqueue(FILE.slice(at, at = Math.min(stop, at + chunk)));
    },
  }, {highWaterMark: 0}), {status, headers});
};
const contentRange = {'Content-Range': `bytes ${a}-${b - 1}/${SIZE}`};
const part = (more = {}) => new Response(head ? null : FILE.slice(a, b), {
  status: 206, headers: {...contentRange, ...more},
});
// The same, of a long file.
const flowing = (faults = {}, more = {}) => head ? part(more) :
  streamed(206, {...contentRange, ...more}, {from: a, to: b, chunk: 65536, ...faults});
";

/// Answers in place of `fetch` until it is dropped.
pub(crate) struct Server {
    fetch: JsValue,
    log: Array,
}

impl Server {
    /// Serves a file of 1000 bytes. `script` is the body of `async (url, init) => …`, after the
    /// [`PRELUDE`].
    pub(crate) fn new(script: &str) -> Self {
        Self::of(1000, script)
    }

    /// Serves a file of `size` bytes.
    pub(crate) fn of(size: u32, script: &str) -> Self {
        let log = Array::new();
        let body = format!(
            "const SIZE = {size}, FILE = new Uint8Array(SIZE); \
             for (let i = 0; i < SIZE; i++) FILE[i] = i % 251; \
             return async (url, init) => {{ {PRELUDE} {script} }}"
        );
        let handler = Function::new_with_args("log", &body)
            .call1(&JsValue::NULL, &log)
            .unwrap();
        let name = JsValue::from_str("fetch");
        let fetch = Reflect::get(&js_sys::global(), &name).unwrap();
        Reflect::set(&js_sys::global(), &name, &handler).unwrap();
        Self { fetch, log }
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log
            .iter()
            .map(|line| line.as_string().unwrap())
            .collect()
    }

    pub(crate) fn count(&self, word: &str) -> usize {
        self.matching(word).len()
    }

    /// The lines of the log that begin with `word`.
    pub(crate) fn matching(&self, word: &str) -> Vec<String> {
        let mut log = self.log();
        log.retain(|line| line.starts_with(word));
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        Reflect::set(&js_sys::global(), &JsValue::from_str("fetch"), &self.fetch).unwrap();
    }
}

pub(crate) fn folder() -> HttpFolder {
    HttpFolder::new("https://models.example/demo?key=1").unwrap()
}

/// One that does not let a test wait for long.
pub(crate) fn hasty() -> HttpFolder {
    folder().with_patience(haste())
}

pub(crate) fn haste() -> Patience {
    Patience {
        pauses_ms: vec![1, 1, 1],
        longest_pause_ms: 10,
        stall_ms: 100,
        vigil: None,
    }
}

/// The file's bytes.
pub(crate) fn file(range: std::ops::Range<usize>) -> Vec<u8> {
    range.map(|i| (i % 251) as u8).collect()
}

/// Why the file could not be read.
pub(crate) fn reason(result: Result<impl std::fmt::Debug, SourceError>) -> String {
    match result {
        Err(SourceError::Failed { path, reason } | SourceError::Denied { path, reason, .. }) => {
            assert_eq!(path, "https://models.example/demo/file");
            reason
        }
        other => panic!("{other:?}"),
    }
}
