//! Reads a fixture: its model folder and what transformers computed from it.

use std::path::PathBuf;

use paligemma_engine::{
    DecodedPicture, Engine, Folder, GpuOptions, LoadOptions, ModelOptions, Picture, Prompt,
    RunRequest, Tune, TuningOptions,
};
use safetensors::{Dtype, SafeTensors};

/// Every model folder of `tests/fixtures`.
pub(crate) const MODELS: [&str; 5] = ["pg1_mqa", "pg1_gqa_bf16", "pg2_gqa", "pg2_odd", "pg2_q128"];

pub(crate) fn fixture(path: &str) -> PathBuf {
    paligemma_tests::folder().join("fixtures").join(path)
}

/// Loads a fixture's model under WebGPU's default limits, so that the baseline tier is what is
/// compared.
pub(crate) fn engine(model: &str) -> Engine {
    load(
        model,
        GpuOptions {
            baseline_limits: true,
            ..GpuOptions::default()
        },
        true,
    )
}

pub(crate) fn load(model: &str, gpu: GpuOptions, sliding_window: bool) -> Engine {
    let source = Folder::new(fixture(model).join("model"));
    let options = LoadOptions {
        gpu,
        model: ModelOptions {
            sliding_window,
            ..ModelOptions::default()
        },
        ..LoadOptions::default()
    };
    pollster::block_on(Engine::load(source, &options, &mut |_| ()))
        .unwrap_or_else(|error| panic!("{model}: {error}"))
}

/// A file of expected tensors.
pub(crate) struct Expected(Vec<u8>);

impl Expected {
    pub(crate) fn read(model: &str, case: &str) -> Self {
        Self::file(&fixture(model).join(format!("expected/{case}.safetensors")))
    }

    pub(crate) fn file(path: &std::path::Path) -> Self {
        Self(std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        file.names().into_iter().map(str::to_owned).collect()
    }

    pub(crate) fn floats(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
        let values = tensor.data().chunks_exact(4);
        (
            tensor.shape().to_vec(),
            values
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect(),
        )
    }

    pub(crate) fn ids(&self, name: &str) -> Vec<u32> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::I64, "{name}");
        let values = tensor.data().chunks_exact(8);
        values
            .map(|b| u32::try_from(i64::from_le_bytes(b.try_into().unwrap())).unwrap())
            .collect()
    }

    /// Integers of either sign, row by row.
    pub(crate) fn integers(&self, name: &str) -> Vec<i64> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::I64, "{name}");
        let values = tensor.data().chunks_exact(8);
        values
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }

    /// The stored `pixel_values`, image by image.
    pub(crate) fn pixels(&self) -> Vec<Vec<f32>> {
        let (shape, values) = self.floats("pixel_values");
        let each = shape[1..].iter().product();
        values.chunks(each).map(<[f32]>::to_vec).collect()
    }
}

/// As [`engine`], with the kernels that GPUs get, or others than the usual ones of them.
pub(crate) fn engine_of_a_gpu(model: &str, kernels: Option<&str>) -> Engine {
    let given = |text: &str| Tune::Given(text.parse().unwrap());
    let options = GpuOptions {
        baseline_limits: true,
        gpu_kernels: true,
        // As on a GPU.
        replays: Some(true),
        tuning: TuningOptions {
            known: Vec::new(),
            tune: kernels.map_or(Tune::Never, given),
        },
        ..GpuOptions::default()
    };
    load(model, options, true)
}

/// A request by ids; its pictures are only counted, as the pixel values are given.
pub(crate) fn request<T>(
    ids: &[u32],
    images: usize,
    max_new_tokens: usize,
    f: impl FnOnce(&RunRequest<'_>) -> T,
) -> T {
    let blank = DecodedPicture::from_rgb(1, 1, vec![0; 3]).unwrap();
    let pictures: Vec<Picture> = (0..images).map(|_| Picture::from(blank.clone())).collect();
    f(&RunRequest {
        pictures: &pictures,
        prompt: Prompt::Ids(ids),
        max_new_tokens,
    })
}
