//! The engine in a browser's worker, on WebGPU: by itself, and behind the protocol.

#![cfg(all(target_arch = "wasm32", feature = "worker"))]
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod bench;
mod demo;
mod forward;
mod generation;
mod host;
mod tuned;

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);
