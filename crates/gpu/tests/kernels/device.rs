//! A device at the baseline tier, and tensors with poison around them.

use paligemma_gpu::{CachePrecision, Gpu, GpuOptions, Indices, Recorder, Tensor, Variants};
use pollster::block_on;

use crate::support::compare::assert_same_bits;

/// The adapter at WebGPU's default limits. None at all is a failure, not a skip.
pub(crate) fn open() -> Gpu {
    open_with(None)
}

/// The same with small bindings.
pub(crate) fn open_with(max_binding_bytes: Option<u64>) -> Gpu {
    let options = GpuOptions {
        baseline_limits: true,
        max_binding_bytes,
        ..GpuOptions::default()
    };
    block_on(Gpu::open(&options)).expect("these tests need a GPU adapter, Mesa's lavapipe will do")
}

/// The adapter with all that it has, which has to include subgroups, and those in use; how many
/// invocations may share an output through them.
pub(crate) fn open_by_subgroups() -> (Gpu, Vec<u32>) {
    let gpu = block_on(Gpu::open(&GpuOptions::default())).expect("there was one");
    let info = gpu.info();
    let known = info.features.iter().any(|name| name == "subgroups");
    assert!(known, "{} has no subgroups: {info:?}", info.name);
    gpu.set_variants(Variants {
        subgroups: true,
        ..gpu.variants()
    });
    assert!(gpu.variants().subgroups);
    let fitting = [2, 4, 8, 16, 32, 64].into_iter();
    let fitting = fitting.filter(|lanes| *lanes <= gpu.subgroup_size());
    (gpu.clone(), fitting.collect())
}

/// Records, submits, waits.
pub(crate) fn run(gpu: &Gpu, record: impl FnOnce(&mut Recorder)) {
    let mut recorder = gpu.recorder();
    record(&mut recorder);
    let program = recorder.finish().unwrap();
    gpu.submit(&program);
    block_on(gpu.finish()).unwrap();
}

/// The same, and the first kernel of what was recorded is the one that is to be tested.
pub(crate) fn run_first(gpu: &Gpu, kernel: &str, record: impl FnOnce(&mut Recorder)) {
    let mut recorder = gpu.recorder();
    record(&mut recorder);
    let program = recorder.finish().unwrap();
    assert_eq!(program.kernels().next(), Some(kernel));
    gpu.submit(&program);
    block_on(gpu.finish()).unwrap();
}

/// The same, and these are all its kernels.
pub(crate) fn run_all(gpu: &Gpu, kernels: &[&str], record: impl FnOnce(&mut Recorder)) {
    let mut recorder = gpu.recorder();
    record(&mut recorder);
    let program = recorder.finish().unwrap();
    assert_eq!(program.kernels().collect::<Vec<_>>(), kernels);
    gpu.submit(&program);
    block_on(gpu.finish()).unwrap();
}

/// The name of a kernel for such a cache.
pub(crate) fn named(kernel: &str, cache: CachePrecision) -> String {
    let kind = match cache {
        CachePrecision::F32 => "",
        CachePrecision::F16 => "_kv16",
        CachePrecision::Int8 => "_kv8",
    };
    format!("{kernel}{kind}")
}

pub(crate) fn read(gpu: &Gpu, tensor: &Tensor) -> Vec<f32> {
    block_on(gpu.read_tensor(tensor)).unwrap()
}

/// Whole rows, padding included.
pub(crate) fn read_padded(gpu: &Gpu, tensor: &Tensor) -> Vec<f32> {
    let stride = tensor.stride();
    let all = gpu
        .tensor_with_stride("all", tensor.rows(), stride, stride)
        .unwrap();
    run(gpu, |recorder| recorder.copy(tensor, &all));
    read(gpu, &all)
}

pub(crate) fn read_indices(gpu: &Gpu, indices: &Indices) -> Vec<u32> {
    let back = gpu.readback(indices.len()).unwrap();
    run(gpu, |recorder| recorder.copy_back(indices, &back));
    block_on(gpu.read(&back)).unwrap()
}

/// Rows before and after the ones that a kernel is given, so many that its binding may begin
/// there.
const BEFORE: usize = 8;
const AFTER: usize = 2;

/// `[rows, columns]` amid rows of NaN: a kernel that reads beyond its rows shows it.
pub(crate) fn input(gpu: &Gpu, columns: usize, numbers: &[f32]) -> Tensor {
    Target::holding(gpu, columns, numbers).view
}

/// `[rows, columns]` amid rows of NaN that must stay as they are.
pub(crate) struct Target {
    whole: Tensor,
    pub(crate) view: Tensor,
}

impl Target {
    /// Poisoned: a number that is not written stays NaN.
    pub(crate) fn poisoned(gpu: &Gpu, rows: usize, columns: usize) -> Self {
        Self::holding(gpu, columns, &vec![f32::NAN; rows * columns])
    }

    /// Holding numbers that are to be added to or replaced.
    pub(crate) fn holding(gpu: &Gpu, columns: usize, numbers: &[f32]) -> Self {
        let rows = numbers.len() / columns;
        let whole = gpu
            .tensor("target", BEFORE + rows + AFTER, columns)
            .unwrap();
        let poison = vec![f32::NAN; whole.rows() * columns];
        gpu.write(&whole, 0, &poison).unwrap();
        gpu.write(&whole, BEFORE, numbers).unwrap();
        let view = whole.slice_rows(BEFORE..BEFORE + rows).unwrap();
        Self { whole, view }
    }

    /// What the rows hold now, after a look at everything around them.
    pub(crate) fn read(&self, gpu: &Gpu) -> Vec<f32> {
        let columns = self.view.columns();
        let padding = self.view.stride() - columns;
        let mut rows = read_padded(gpu, &self.whole);
        let mut untouched = vec![f32::NAN; columns];
        untouched.extend(vec![0.0; padding]);
        let mut held = Vec::new();
        for (i, row) in rows.chunks_mut(self.view.stride()).enumerate() {
            if (BEFORE..BEFORE + self.view.rows()).contains(&i) {
                // Of either sign: q4 scales its zeros by negative numbers too.
                assert!(row[columns..].iter().all(|&x| x == 0.0), "padding");
                held.extend_from_slice(&row[..columns]);
            } else {
                assert_same_bits("a row outside", row, &untouched);
            }
        }
        held
    }
}
