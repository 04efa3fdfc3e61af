//! Compiling kernels before they are needed.

use paligemma_checkpoint::Precision;

use crate::attention::constant_of_cap;
use crate::cache::CachePrecision;
use crate::device::Gpu;
use crate::matrix::BLOCK;
use crate::packed::GROUP;
use crate::shader::{self, Shader};
use crate::team::Team;

/// Kernels that every picture and every answer needs, whatever the weights are stored as.
const COMMON: [&Shader; 5] = [
    &shader::PATCHIFY,
    &shader::ADD,
    &shader::SPLIT_HEADS, // of the vision tower, whose cache is of 32-bit floats
    &shader::SCATTER_ROWS,
    &shader::GEGLU,
];

/// What picks a token, for GPUs and for others.
const PICKING: [[&Shader; 2]; 3] = [
    [&shader::LOG_SUM_EXP_BEST, &shader::LOG_SUM_EXP_BEST_SERIAL],
    [&shader::ARGMAX, &shader::ARGMAX_SERIAL],
    [&shader::LOG_PROBS, &shader::LOG_PROBS_SERIAL],
];

/// Norms, for GPUs and for others.
const NORMS: [[&Shader; 2]; 3] = [
    [&shader::LAYER_NORM, &shader::LAYER_NORM_SERIAL],
    [&shader::RMS_NORM, &shader::RMS_NORM_SERIAL],
    [&shader::RMS_NORM_TWICE, &shader::RMS_NORM_TWICE_SERIAL],
];

/// A matrix that a model will have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// How it is stored.
    pub precision: Precision,
    /// Output features; several projections of the same numbers are one matrix.
    pub rows: usize,
    /// Input features.
    pub columns: usize,
    /// What it is for.
    pub role: MatrixRole,
}

/// How a model will attend, as far as it decides which kernels do it.
#[derive(Clone, Copy, Debug)]
pub struct PlannedAttention {
    /// How the decoder keeps keys and values.
    pub cache: CachePrecision,
    /// Sequences have more than 1,024 positions.
    pub long: bool,
    /// The decoder's bound of scores.
    pub soft_cap: Option<f32>,
}

/// A kernel, and the value of its overridable constant if it has one that is not its default.
type Prepared = (&'static Shader, Option<(&'static str, f64)>);

/// What a matrix is for, as far as it decides which kernels read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatrixRole {
    /// Multiplied with many rows only: the vision tower.
    Rows,
    /// Multiplied with many rows and with one: the decoder.
    Both,
    /// The same, of the residual stream after a norm: queries, keys and values.
    Normed,
    /// The same, gates and ups: with one row the activation follows at once.
    Gated,
    /// Looked up, and multiplied with one row: the vocabulary.
    Vocabulary,
}

impl Gpu {
    /// Has the kernels compiled that a model will need, beside whatever else is going on, its
    /// loading above all. Nothing depends on it: a kernel that is not ready is compiled when it is
    /// used. Returns how many kernels were asked for and how many are ready. Outside a browser this is
    /// nothing: there all is compiled when it is first used.
    pub async fn prepare(
        &self,
        matrices: impl Iterator<Item = Planned>,
        attention: PlannedAttention,
    ) -> [usize; 2] {
        let PlannedAttention {
            cache,
            long,
            soft_cap,
        } = attention;
        let mut others: Vec<&'static Shader> = COMMON.to_vec();
        others.extend(NORMS.map(|both| self.norm(both, 1).0));
        others.extend(PICKING.map(|both| self.either(both)));
        let matrices: Vec<Planned> = matrices.collect();
        let packs = matrices.iter().any(|it| self.reads_bytes(it));
        // Where a GPU computes, keys are always shared out.
        let parts = long || !self.is_serial();
        if packs {
            others.extend([&shader::RMS_NORM_PACKS, &shader::RMS_NORM_TWICE_PACKS]);
        }
        match (parts, packs) {
            (true, true) => others.push(&shader::MERGE_ATTENTION_PACKS),
            (true, false) => others.push(&shader::MERGE_ATTENTION),
            (false, true) => others.push(&shader::PACK_ROW),
            (false, false) => {}
        }
        match cache {
            CachePrecision::F32 => {}
            CachePrecision::F16 => others.push(&shader::SPLIT_HEADS_KV16),
            CachePrecision::Int8 => others.push(&shader::SPLIT_HEADS_KV8),
        }
        let mut needed: Vec<Prepared> = others.into_iter().map(|it| (it, None)).collect();
        // The vision tower's has no cap.
        needed.push((self.attention(CachePrecision::F32).0, None));
        let cap = constant_of_cap(soft_cap);
        if cap.is_some() || cache != CachePrecision::F32 {
            needed.push((self.attention(cache).0, cap));
        }
        needed.push((self.decode_attention(cache), cap));
        for Planned {
            precision,
            rows,
            columns,
            role,
        } in matrices
        {
            let blocks = columns.div_ceil(BLOCK);
            let kernels = crate::matrix::kernels(precision, blocks);
            let (matmul, tiles) = self.matmul(&kernels, false);
            let of_rows = tiles.iter().map(|tile| {
                let rows = (tiles.len() > 1).then_some(("3", tile[1] as f64));
                (matmul, rows)
            });
            let told = |team: Team| (team.shader, Some(team.constant()));
            let matvec = |exact| told(self.matvec(kernels.matvec, rows, blocks, exact));
            let normed = |kernel| self.normed(kernel, rows, blocks).map(told);
            let gated = || {
                let team = self.matvec(kernels.matvec_geglu, rows, blocks, false);
                // The down projection has as many inputs as there are gates.
                let packs = (rows / 2).next_multiple_of(BLOCK).is_multiple_of(GROUP);
                told(team.packing().filter(|_| packs).unwrap_or(team))
            };
            let of_one: &[Prepared] = match role {
                MatrixRole::Rows => &[],
                MatrixRole::Both => &[matvec(false)],
                MatrixRole::Normed => &[normed(kernels.matvec).unwrap_or_else(|| matvec(false))],
                MatrixRole::Gated => &[normed(kernels.matvec_geglu).unwrap_or_else(gated)],
                MatrixRole::Vocabulary => &[(kernels.embed, None), matvec(true)],
            };
            let of_rows = of_rows.filter(|_| role != MatrixRole::Vocabulary);
            for one in of_rows.chain(of_one.iter().copied()) {
                let same = |(shader, told): &Prepared| shader.name == one.0.name && *told == one.1;
                if !needed.iter().any(same) {
                    needed.push(one);
                }
            }
        }
        #[cfg(target_arch = "wasm32")]
        let ready = self.compile_all(&needed).await;
        #[cfg(not(target_arch = "wasm32"))]
        let ready = 0;
        [needed.len(), ready]
    }

    /// Whether products of a single row with it read that in bytes.
    fn reads_bytes(&self, it: &Planned) -> bool {
        let blocks = it.columns.div_ceil(BLOCK);
        let kernels = crate::matrix::kernels(it.precision, blocks);
        let team = self.matvec(kernels.matvec, it.rows, blocks, false);
        let is_of_decoder = matches!(
            it.role,
            MatrixRole::Both | MatrixRole::Normed | MatrixRole::Gated
        );
        is_of_decoder && team.reads_bytes
    }
}

/// wgpu creates pipelines in a way in which a browser compiles one after the other, when each is
/// first used. What is said to the browser here beside wgpu makes it compile all of them at once,
/// and as it keeps what it has compiled as long as somebody holds it, wgpu's then come for nothing.
#[cfg(target_arch = "wasm32")]
mod browser {
    use js_sys::{Array, Function, Object, Promise, Reflect};
    use wasm_bindgen::{JsCast, JsValue};
    use wasm_bindgen_futures::JsFuture;

    use super::Prepared;
    use crate::device::Gpu;
    use crate::shader::Binding;

    impl Gpu {
        pub(super) async fn compile_all(&self, kernels: &[Prepared]) -> usize {
            let Some(device) = self.0.device.as_webgpu() else {
                return 0;
            };
            let device: &JsValue = device.as_ref();
            let begun = kernels.iter().map(|kernel| compile(device, kernel));
            let promises: Array = begun.filter_map(Result::ok).collect();
            // A kernel that does not compile is refused again, and told of, when it is used.
            let settled = JsFuture::from(Promise::all_settled(&promises)).await;
            let settled: Array = settled.map(JsCast::unchecked_into).unwrap_or_default();
            let value = |one: JsValue| Reflect::get(&one, &"value".into()).ok();
            let ready: Array = settled
                .iter()
                .filter_map(value)
                .filter(|pipeline| !pipeline.is_undefined())
                .collect();
            let count = ready.length() as usize;
            self.0.prepared.borrow_mut().push(ready.into());
            count
        }
    }

    fn compile(device: &JsValue, (shader, told): &Prepared) -> Result<JsValue, JsValue> {
        let module = call(
            device,
            "createShaderModule",
            &object(&[("code", (*shader.source_for_browsers()).into())])?,
        )?;
        let entries = Array::new();
        for (binding, kind) in shader.bindings {
            let kind = match kind {
                Binding::Read => "read-only-storage",
                Binding::ReadWrite => "storage",
                Binding::Uniform => "uniform",
            };
            const COMPUTE: u32 = 4;
            entries.push(&object(&[
                ("binding", (*binding).into()),
                ("visibility", COMPUTE.into()),
                ("buffer", object(&[("type", kind.into())])?),
            ])?);
        }
        let entries = object(&[("entries", entries.into())])?;
        let group = call(device, "createBindGroupLayout", &entries)?;
        let groups = object(&[("bindGroupLayouts", Array::of1(&group).into())])?;
        let layout = call(device, "createPipelineLayout", &groups)?;
        let mut compute = vec![("module", module), ("entryPoint", "main".into())];
        if let Some((constant, value)) = *told {
            compute.push(("constants", object(&[(constant, value.into())])?));
        }
        let pipeline = object(&[("layout", layout), ("compute", object(&compute)?)])?;
        call(device, "createComputePipelineAsync", &pipeline)
    }

    fn object(fields: &[(&str, JsValue)]) -> Result<JsValue, JsValue> {
        let object = Object::new();
        for (name, value) in fields {
            Reflect::set(&object, &(*name).into(), value)?;
        }
        Ok(object.into())
    }

    fn call(device: &JsValue, method: &str, argument: &JsValue) -> Result<JsValue, JsValue> {
        let function: Function = Reflect::get(device, &method.into())?.dyn_into()?;
        function.call1(device, argument)
    }
}
