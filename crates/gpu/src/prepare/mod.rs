//! Compiling kernels before they are needed.

#[cfg(not(target_arch = "wasm32"))]
mod ahead;
#[cfg(target_arch = "wasm32")]
mod browser;

use paligemma_checkpoint::Precision;

use crate::attention::constant_of_cap;
use crate::cache::CachePrecision;
use crate::device::Gpu;
use crate::matrix::BLOCK;
use crate::packed::GROUP;
use crate::shader::{self, Shader};
use crate::team::Team;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use ahead::Ahead;

/// Kernels that every picture and every prompt needs, whatever the weights are stored as.
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

/// The vision tower's norm, for GPUs and for others.
const VISION_NORM: [&Shader; 2] = [&shader::LAYER_NORM, &shader::LAYER_NORM_SERIAL];

/// The decoder's.
const NORMS: [[&Shader; 2]; 2] = [
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
    /// Heads of the decoder that share keys and values.
    pub queries_per_kv: usize,
}

/// A kernel, and the values of those of its overridable constants that are not their defaults.
type Prepared = (&'static Shader, Vec<(&'static str, f64)>);

/// The kernels that a model will need, each once.
#[derive(Default)]
struct Needed {
    /// For pictures and prompts only.
    many: Vec<Prepared>,
    /// For the steps of an answer, and some for prompts too.
    step: Vec<Prepared>,
}

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
    /// used. Returns how many kernels were asked for and how many are ready. In a browser, which
    /// compiles them all at once, this ends when they are; elsewhere none is ready yet, as a thread of
    /// their own compiles them, one after the other, for as long as it takes or this device lives.
    pub async fn prepare(
        &self,
        matrices: impl Iterator<Item = Planned>,
        attention: PlannedAttention,
    ) -> [usize; 2] {
        let needed = self.needed(&matrices.collect::<Vec<_>>(), attention);
        #[cfg(target_arch = "wasm32")]
        let ready = self.compile_all(&needed).await;
        #[cfg(not(target_arch = "wasm32"))]
        let ready = self.compile_ahead(&needed);
        [needed.many.len() + needed.step.len(), ready]
    }

    fn needed(&self, matrices: &[Planned], attention: PlannedAttention) -> Needed {
        let PlannedAttention {
            cache,
            long,
            soft_cap,
            queries_per_kv,
        } = attention;
        let mut needed = Needed::default();
        let plain = |shader: &'static Shader| (shader, Vec::new());
        needed.many.extend(COMMON.map(plain));
        needed.many.push(plain(self.norm(VISION_NORM, 1).0));
        needed
            .step
            .extend(NORMS.map(|both| plain(self.norm(both, 1).0)));
        needed
            .step
            .extend(PICKING.map(|both| plain(self.either(both))));
        let packs = matrices.iter().any(|it| self.reads_bytes(it));
        // Where a GPU computes, keys are always shared out.
        let parts = long || !self.is_serial();
        if packs {
            let packing = [&shader::RMS_NORM_PACKS, &shader::RMS_NORM_TWICE_PACKS];
            needed.step.extend(packing.map(plain));
        }
        match (parts, packs) {
            (true, true) => needed.step.push(plain(&shader::MERGE_ATTENTION_PACKS)),
            (true, false) => needed.step.push(plain(&shader::MERGE_ATTENTION)),
            (false, true) => needed.step.push(plain(&shader::PACK_ROW)),
            (false, false) => {}
        }
        needed.step.push(plain(cache.pick([
            &shader::SPLIT_HEADS,
            &shader::SPLIT_HEADS_KV16,
            &shader::SPLIT_HEADS_KV8,
        ])));
        // The vision tower's has no cap.
        needed
            .many
            .push(plain(self.attention(CachePrecision::F32).0));
        let cap: Vec<_> = constant_of_cap(soft_cap).into_iter().collect();
        needed.many.push((self.attention(cache).0, cap.clone()));
        let (_, queries) = self.queries_at_once(queries_per_kv);
        let constants = cap.into_iter().chain(queries);
        needed
            .step
            .push((self.decode_attention(cache), constants.collect()));
        for Planned {
            precision,
            rows,
            columns,
            role,
        } in matrices.iter().copied()
        {
            let blocks = columns.div_ceil(BLOCK);
            let kernels = crate::matrix::kernels(precision, blocks);
            let told = |team: Team| (team.shader, vec![team.constant()]);
            let matvec = |exact| told(self.matvec(kernels.matvec, rows, blocks, exact));
            let normed = |kernel| self.normed(kernel, rows, blocks).map(told);
            let gated = || {
                let team = self.matvec(kernels.matvec_geglu, rows, blocks, false);
                // The down projection has as many inputs as there are gates.
                let packs = (rows / 2).next_multiple_of(BLOCK).is_multiple_of(GROUP);
                told(team.packing().filter(|_| packs).unwrap_or(team))
            };
            let of_one = match role {
                MatrixRole::Rows => vec![],
                MatrixRole::Both => vec![matvec(false)],
                MatrixRole::Normed => vec![normed(kernels.matvec).unwrap_or_else(|| matvec(false))],
                MatrixRole::Gated => vec![normed(kernels.matvec_geglu).unwrap_or_else(gated)],
                MatrixRole::Vocabulary => vec![plain(kernels.embed), matvec(true)],
            };
            needed.step.extend(of_one);
            if role != MatrixRole::Vocabulary {
                let (matmul, tiles) = self.matmul(&kernels, false);
                needed.many.extend(tiles.iter().map(|tile| {
                    let rows = (tiles.len() > 1).then_some(("3", tile[1] as f64));
                    (matmul, rows.into_iter().collect())
                }));
            }
        }
        let mut seen: Vec<Prepared> = Vec::new();
        for kernels in [&mut needed.step, &mut needed.many] {
            kernels.retain(|(shader, told)| {
                let same = |seen: &Prepared| seen.0.name == shader.name && seen.1 == *told;
                let first = !seen.iter().any(same);
                if first {
                    seen.push((shader, told.clone()));
                }
                first
            });
        }
        needed
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
