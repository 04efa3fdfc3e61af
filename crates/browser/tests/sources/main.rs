//! Where a checkpoint's bytes come from in a browser, with scripted servers in place of `fetch`,
//! and with a real one.

#![cfg(all(target_arch = "wasm32", feature = "worker"))]
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod broken;
mod changed;
mod hub;
mod local;
mod reads;
mod server;
mod stretches;
mod waiting;

use wasm_bindgen_test::wasm_bindgen_test_configure;

wasm_bindgen_test_configure!(run_in_dedicated_worker);
