//! The browser's database as a store of packed models: what is kept, what survives, what is said.

#![cfg(all(target_arch = "wasm32", feature = "worker"))]
#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod damage;
mod faults;
mod ingest;
mod keeping;
mod killed;
mod script;
mod support;
mod tabs;
mod tidy;
mod versions;

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);
