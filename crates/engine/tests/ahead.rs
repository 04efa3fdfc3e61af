//! What is compiled while a model loads.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use paligemma_checkpoint::Checkpoint;
use paligemma_engine::Folder;
use paligemma_gpu::{Gpu, GpuOptions};
use paligemma_model::{ModelOptions, PaliGemma};
use pollster::block_on;

/// When the first weights have arrived, compiling has begun, and nothing else has been compiled.
#[test]
fn kernels_are_compiled_while_weights_arrive() {
    let gpu = block_on(Gpu::open(&GpuOptions::default())).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/demo/model");
    let checkpoint = block_on(Checkpoint::open(Folder::new(folder))).unwrap();
    let mut ready = None;
    let mut progress = |_| {
        ready.get_or_insert_with(|| gpu.finish_preparing());
    };
    let options = ModelOptions::default();
    let loading = PaliGemma::load(&gpu, &checkpoint, &options, &mut progress);
    block_on(loading).unwrap();
    let ready = ready.unwrap();
    assert!(ready.len() > 15, "{ready:?}");
    assert_eq!(gpu.compiled_late(), [""; 0]);
}
