//! Picking tokens from logits: their probabilities, what sampling makes of them, a draw, the best
//! few. All of it stays on the GPU; logits have a row of the vocabulary's length.

use bytemuck::{Pod, Zeroable};

use crate::device::Gpu;
use crate::error::GpuError;
use crate::program::{Recorder, Resource};
use crate::shader;
use crate::tensor::{Indices, Tensor};

/// Logits that one workgroup looks at.
const STRETCH: usize = 2048;
/// Bins of a digit of a threshold's search.
const BINS: usize = 32;
/// Where the digits of a 32-bit key begin: the first has two bits, the others five.
const SHIFTS: [u32; 7] = [30, 25, 20, 15, 10, 5, 0];
/// Stretches that `top` merges at most.
const MOST_STRETCHES: usize = 1024;

/// Ids that follow one another as what they stand for does, and how far a neighbour may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// The first id.
    pub first: u32,
    /// One past the last.
    pub end: u32,
    /// Ids this far away still count, for each of the masses.
    pub radii: [u32; 4],
}

/// What sampling makes of logits, in this order.
#[derive(Clone, Copy)]
pub struct Processing<'a> {
    /// Ids from here on are never picked.
    pub allowed: usize,
    /// Soft cap of the logits.
    pub soft_cap: Option<f32>,
    /// A bit for each id that may be picked, in words of 32; none: all.
    pub permitted: Option<&'a Indices>,
    /// A bit for each id that was there before, in words of 32, and what their logits are
    /// divided by if they are positive, else multiplied with.
    pub penalty: Option<(&'a Indices, f32)>,
    /// Logits are divided by this.
    pub temperature: f32,
}

/// Which logits stay; equal ones stay or go together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keep {
    /// This many of the highest.
    Top(usize),
    /// The fewest of the highest whose probabilities sum to more than this.
    Share(f32),
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ProbabilityParams {
    radii: [u32; 4],
    count: u32,
    stretches: u32,
    length: u32,
    first: u32,
    end: u32,
    cap: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ProcessParams {
    length: u32,
    allowed: u32,
    cap: f32,
    penalty: f32,
    temperature: f32,
    penalise: u32,
    constrain: u32,
}

/// Words that [`Recorder::log_probs`] writes for an id: the id, and the bits of its
/// log-probability and of the four masses.
pub const FOUND_WORDS: usize = 6;

impl Gpu {
    /// Room for what [`Recorder::log_sum_exp`] finds in `length` logits.
    ///
    /// # Errors
    /// More bytes than one buffer may have.
    pub fn stretches(&self, length: usize) -> Result<Tensor, GpuError> {
        self.tensor_with_stride("stretches", length.div_ceil(STRETCH), 2, 2)
    }
}

impl Recorder {
    /// Of each stretch of logits `[1, vocabulary]`, soft-capped, the highest and the sum of
    /// e^(logit - highest): the parts (see [`Gpu::stretches`]) of a softmax's denominator. Logits
    /// that are NaN count for nothing.
    pub fn log_sum_exp(&mut self, logits: &Tensor, soft_cap: Option<f32>, parts: &Tensor) {
        let length = logits.columns();
        if !are_parts(logits, parts) {
            return self.misfit(&shader::LOG_SUM_EXP, &[logits, parts], String::new());
        }
        let sums = self
            .gpu
            .either([&shader::LOG_SUM_EXP, &shader::LOG_SUM_EXP_SERIAL]);
        self.dispatch(
            sums,
            vec![logits.into(), parts.into()],
            bytemuck::cast_slice(&[length as u32, soft_cap.unwrap_or(0.0).to_bits(), 0]),
            [parts.rows() as u64, 1, 1],
            0,
        );
    }

    /// What [`Recorder::log_sum_exp`] and [`Recorder::argmax`] do, with one reading of the logits.
    pub fn argmax_and_log_sum_exp(
        &mut self,
        logits: &Tensor,
        soft_cap: Option<f32>,
        parts: &Tensor,
        allowed: usize,
        (token, span, advance): (&Indices, &Indices, usize),
    ) {
        let length = logits.columns();
        let fits = are_parts(logits, parts)
            && (1..=length).contains(&allowed)
            && !token.is_empty()
            && span.len() >= 2;
        if !fits {
            let all = [logits, parts];
            return self.misfit(&shader::LOG_SUM_EXP_BEST, &all, allowed.to_string());
        }
        let best = match self.gpu.indices("best", 2 * parts.rows()) {
            Ok(best) => best,
            Err(error) => return self.fail(error),
        };
        let cap = soft_cap.unwrap_or(0.0);
        let both = [&shader::LOG_SUM_EXP_BEST, &shader::LOG_SUM_EXP_BEST_SERIAL];
        self.dispatch(
            self.gpu.either(both),
            vec![logits.into(), parts.into(), (&best).into()],
            bytemuck::cast_slice(&[length as u32, cap.to_bits(), allowed as u32]),
            [parts.rows() as u64, 1, 1],
            0,
        );
        self.best_of(&best, (token, span, advance));
    }

    /// For each of the first `count` ids its log-probability under the softmax of the soft-capped
    /// logits, and the probability of ids near it, into `found`: [`FOUND_WORDS`] words each.
    /// `parts` is from [`Recorder::log_sum_exp`]. Of an id outside the neighbours the masses are
    /// its own probability; one outside the vocabulary has none.
    pub fn log_probs(
        &mut self,
        logits: &Tensor,
        soft_cap: Option<f32>,
        parts: &Tensor,
        (ids, count): (&Indices, usize),
        near: Neighbours,
        found: &Indices,
    ) {
        let length = logits.columns();
        let fits = are_parts(logits, parts)
            && ids.len() >= count
            && found.len() >= count * FOUND_WORDS
            && near.first <= near.end
            && near.end as usize <= length;
        if !fits {
            return self.misfit(&shader::LOG_PROBS, &[logits, parts], format!("{near:?}"));
        }
        let params = ProbabilityParams {
            radii: near.radii,
            count: count as u32,
            stretches: parts.rows() as u32,
            length: length as u32,
            first: near.first,
            end: near.end,
            cap: soft_cap.unwrap_or(0.0),
        };
        let probabilities = self
            .gpu
            .either([&shader::LOG_PROBS, &shader::LOG_PROBS_SERIAL]);
        self.dispatch(
            probabilities,
            vec![logits.into(), parts.into(), ids.into(), found.into()],
            bytemuck::bytes_of(&params),
            [1, 1, 1],
            0,
        );
    }

    /// Logits `[1, vocabulary]` into `processed` as sampling wants them; what may not be picked
    /// becomes NaN.
    pub fn process_logits(&mut self, logits: &Tensor, how: Processing<'_>, processed: &Tensor) {
        let length = logits.columns();
        let words = length.div_ceil(32);
        let fits = logits.rows() == 1
            && processed.rows() == 1
            && processed.columns() == length
            && how.allowed <= length
            && how.permitted.is_none_or(|bits| bits.len() >= words)
            && how.penalty.is_none_or(|(bits, _)| bits.len() >= words);
        if !fits {
            let all = [logits, processed];
            return self.misfit(&shader::PROCESS_LOGITS, &all, how.allowed.to_string());
        }
        let params = ProcessParams {
            length: length as u32,
            allowed: how.allowed as u32,
            cap: how.soft_cap.unwrap_or(0.0),
            penalty: how.penalty.map_or(1.0, |(_, penalty)| penalty),
            temperature: how.temperature,
            penalise: how.penalty.is_some().into(),
            constrain: how.permitted.is_some().into(),
        };
        // A kernel binds something even where it reads nothing.
        let or_logits = |bits: Option<&Indices>| bits.map_or(logits.into(), Resource::from);
        self.dispatch(
            &shader::PROCESS_LOGITS,
            vec![
                logits.into(),
                or_logits(how.penalty.map(|(bits, _)| bits)),
                or_logits(how.permitted),
                processed.into(),
            ],
            bytemuck::bytes_of(&params),
            [length.div_ceil(64) as u64, 1, 1],
            0,
        );
    }

    /// Finds the least processed logit that stays: `state[0]` becomes its key, which orders as the
    /// logits do. Only those count whose keys are at least `floor[0]`. `parts` is from
    /// [`Recorder::log_sum_exp`] over `processed`; `state` has three words.
    pub fn threshold(
        &mut self,
        processed: &Tensor,
        parts: &Tensor,
        keep: Keep,
        floor: &Indices,
        state: &Indices,
    ) {
        let length = processed.columns();
        let stretches = parts.rows();
        if !are_parts(processed, parts) || floor.is_empty() || state.len() < 3 {
            let all = [processed, parts];
            return self.misfit(&shader::DIGITS_PARTS, &all, format!("{keep:?}"));
        }
        let sums = match self.gpu.tensor("bins", stretches, BINS) {
            Ok(sums) => sums,
            Err(error) => return self.fail(error),
        };
        let (weigh, amount) = match keep {
            Keep::Top(count) => (0, count as f32),
            Keep::Share(share) => (1, 1.0 - share),
        };
        for (level, shift) in SHIFTS.into_iter().enumerate() {
            let first = u32::from(level == 0);
            let params = [length as u32, stretches as u32, shift, first, weigh];
            self.dispatch(
                &shader::DIGITS_PARTS,
                vec![
                    processed.into(),
                    parts.into(),
                    floor.into(),
                    state.into(),
                    (&sums).into(),
                ],
                bytemuck::cast_slice(&params),
                [stretches as u64, 1, 1],
                0,
            );
            let params = [stretches as u32, shift, first, weigh, amount.to_bits()];
            self.dispatch(
                &shader::DIGITS,
                vec![(&sums).into(), state.into()],
                bytemuck::cast_slice(&params),
                [1, 1, 1],
                0,
            );
        }
    }

    /// token\[0\] = the id at which, in the order of ids, the weights of what is kept first exceed
    /// the share of all that `number` says (the bits of an f32 from 0 to 1, 1 excluded); all ones
    /// when nothing is kept. Then span\[0\] += advance. What is kept is at least `floor[0]`, see
    /// [`Recorder::threshold`].
    pub fn draw(
        &mut self,
        processed: &Tensor,
        parts: &Tensor,
        floor: &Indices,
        number: &Indices,
        (token, span, advance): (&Indices, &Indices, usize),
    ) {
        let (length, stretches) = (processed.columns(), parts.rows());
        let fits = are_parts(processed, parts)
            && !floor.is_empty()
            && !number.is_empty()
            && !token.is_empty()
            && span.len() >= 2;
        if !fits {
            return self.misfit(&shader::DRAW, &[processed, parts], String::new());
        }
        let sums = match self.gpu.tensor("weights", 1, stretches) {
            Ok(sums) => sums,
            Err(error) => return self.fail(error),
        };
        self.dispatch(
            &shader::DRAW_PARTS,
            vec![processed.into(), parts.into(), floor.into(), (&sums).into()],
            bytemuck::cast_slice(&[length as u32, stretches as u32]),
            [stretches as u64, 1, 1],
            0,
        );
        self.dispatch(
            &shader::DRAW,
            vec![
                processed.into(),
                parts.into(),
                floor.into(),
                (&sums).into(),
                number.into(),
                token.into(),
                span.into(),
            ],
            bytemuck::cast_slice(&[length as u32, stretches as u32, advance as u32]),
            [1, 1, 1],
            0,
        );
    }

    /// ids\[0..count\] = those of the highest of the first `allowed` logits `[1, vocabulary]`, in
    /// falling order (of equal ones the lower id first), all ones where there are no more; then
    /// span\[0\] += advance.
    pub fn top(
        &mut self,
        logits: &Tensor,
        allowed: usize,
        count: usize,
        ids: &Indices,
        (span, advance): (&Indices, usize),
    ) {
        let stretches = allowed.div_ceil(STRETCH);
        let fits = logits.rows() == 1
            && allowed <= logits.columns()
            && (1..=STRETCH).contains(&count)
            && (1..=MOST_STRETCHES).contains(&stretches)
            && ids.len() >= count
            && span.len() >= 2;
        if !fits {
            let what = format!("{count} of {allowed}");
            return self.misfit(&shader::TOP, &[logits], what);
        }
        let best = match self.gpu.indices("best", stretches * count * 2) {
            Ok(best) => best,
            Err(error) => return self.fail(error),
        };
        self.dispatch(
            &shader::TOP_PARTS,
            vec![logits.into(), (&best).into()],
            bytemuck::cast_slice(&[allowed as u32, count as u32]),
            [stretches as u64, 1, 1],
            0,
        );
        self.dispatch(
            &shader::TOP,
            vec![(&best).into(), ids.into(), span.into()],
            bytemuck::cast_slice(&[stretches as u32, count as u32, advance as u32]),
            [1, 1, 1],
            0,
        );
    }
}

fn are_parts(logits: &Tensor, parts: &Tensor) -> bool {
    logits.rows() == 1
        && parts.rows() == logits.columns().div_ceil(STRETCH)
        && parts.columns() == 2
        && parts.stride() == 2
}
