use std::cell::Cell;

use paligemma_checkpoint::TextConfig;
use paligemma_gpu::{
    FOUND_WORDS, Gpu, GpuError, Indices, Keep, Neighbours, Processing, Program, Readback, Recorder,
    Submission, Tensor,
};

use crate::under_way::Submitted;

/// Submissions that may be made before the first of them is waited for.
pub(crate) const SUBMISSIONS_UNDER_WAY: usize = 3;
/// Steps that may be submitted at once.
const STEPS_AT_ONCE: usize = 4;

/// What stands for an id where there was none to pick: every logit was NaN.
pub(crate) const NO_TOKEN: u32 = u32::MAX;

/// How a session picks what follows from the logits.
#[derive(Clone, Debug, PartialEq)]
pub enum Picking {
    /// One token.
    One(PickOne),
    /// The most probable few, for a search that decides itself which it follows.
    Few {
        /// How many.
        count: usize,
        /// Ids whose probabilities are wanted whatever they are.
        also: Vec<u32>,
    },
}

/// How one token is picked. The default takes the most probable one.
#[derive(Clone, Debug, PartialEq)]
pub struct PickOne {
    /// Logits of ids that were there before are divided by this if they are positive, else
    /// multiplied with; 1: none of that.
    pub repetition_penalty: f32,
    /// Draw at random; none: take the most probable.
    pub sampling: Option<Sampling>,
    /// Pick only from ids that [`Steering::permitted`] has.
    pub constrained: bool,
    /// Which ids are neighbours, for [`Scored::near`].
    pub near: Neighbours,
}

impl Default for PickOne {
    fn default() -> Self {
        Self {
            repetition_penalty: 1.0,
            sampling: None,
            constrained: false,
            near: Neighbours::default(),
        }
    }
}

/// What a token is drawn from: temperature, then the k highest, then the share p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by this.
    pub temperature: f32,
    /// Only this many of the highest logits stay, and those equal to the last of them.
    pub top_k: Option<usize>,
    /// Only the fewest of the highest stay whose probabilities sum to more than this; 1: all.
    pub top_p: f32,
}

/// What steps that are submitted at once need from outside, as far as their [`Picking`] asks for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steering<'a> {
    /// Of each of the steps, from 0 to 1, 1 excluded: where in the order of ids the draw lands. They serve
    /// one submission.
    pub numbers: &'a [f32],
    /// A bit for each id that was there before, in words of 32.
    pub seen: &'a [u32],
    /// A bit for each id that may be picked, in words of 32.
    pub permitted: &'a [u32],
}

/// A token and what the model thought of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Its id.
    pub id: u32,
    /// Logarithm of its probability under the softmax of the model's own logits, soft cap
    /// included, whatever sampling or a penalty made of them.
    pub log_prob: f32,
    /// Probability of the neighbours within each of the radii, itself included; of a token that
    /// is no neighbour of any, its own.
    pub near: [f32; 4],
}

/// The end of every step: from logits to a token.
pub(crate) struct Picker {
    picking: Picking,
    allowed: usize,
    soft_cap: Option<f32>,
    parts: Tensor,
    ids: Indices,             // of `Few`
    found: Indices,           // [ids, FOUND_WORDS]
    all_found: Indices,       // the same of each of the steps submitted at once
    keep: Vec<Program>, // into it, of the first of them, of the second …; the next has its number then
    readbacks: Vec<Readback>, // of the submissions under way, in turn
    workshop: Option<Workshop>,
}

/// What only other picking than the plainest needs.
struct Workshop {
    processed: Tensor, // [1, vocabulary]
    parts: Tensor,
    seen: Indices,       // bits of the vocabulary
    permitted: Indices,  // the same
    number: Indices,     // [1], of the step that is next
    later: Vec<Indices>, // the same of those that are submitted with it
    given: Cell<usize>,  // numbers for steps that have not been submitted
    everything: Indices, // the threshold that keeps all
    top: Indices,
    share: Indices,
}

impl Picker {
    pub(crate) fn new(
        gpu: &Gpu,
        config: &TextConfig,
        allowed: usize,
        picking: Picking,
    ) -> Result<Self, GpuError> {
        let vocabulary = config.vocab_size;
        let plain = match &picking {
            Picking::One(how) => {
                how.sampling.is_none() && how.repetition_penalty == 1.0 && !how.constrained
            }
            Picking::Few { .. } => true,
        };
        let count = match &picking {
            Picking::One(_) => 1,
            Picking::Few { count, also } => count + also.len(),
        };
        let words = vocabulary.div_ceil(32);
        // Random numbers are known before the tokens, penalties and permissions are not.
        let at_once = match &picking {
            Picking::One(how) if how.repetition_penalty == 1.0 && !how.constrained => STEPS_AT_ONCE,
            _ => 1,
        };
        let number = || gpu.indices("drawn number", 1);
        let workshop = match plain {
            true => None,
            false => Some(Workshop {
                processed: gpu.tensor("processed logits", 1, vocabulary)?,
                parts: gpu.stretches(vocabulary)?,
                seen: gpu.indices("seen", words)?,
                permitted: gpu.indices("permitted", words)?,
                number: number()?,
                later: (1..at_once).map(|_| number()).collect::<Result<_, _>>()?,
                given: Cell::new(0),
                everything: gpu.indices("no threshold", 3)?,
                top: gpu.indices("top threshold", 3)?,
                share: gpu.indices("share threshold", 3)?,
            }),
        };
        let ids = gpu.indices("best ids", count)?;
        if let Picking::Few { count, also } = &picking {
            gpu.write_indices(&ids, &[vec![NO_TOKEN; *count], also.clone()].concat())?;
        }
        let found = gpu.indices("found", count * FOUND_WORDS)?;
        let all_found = gpu.indices("all found", at_once * found.len())?;
        let keep = |step| {
            let mut r = gpu.recorder();
            r.copy_indices(&found, &all_found, step * found.len());
            if let Some(w) = &workshop
                && let Some(next) = w.later.get(step)
            {
                r.copy_indices(next, &w.number, 0);
            }
            Ok(r.finish()?.for_replay())
        };
        let keep: Vec<Program> = (0..at_once).map(keep).collect::<Result<_, GpuError>>()?;
        if gpu.replays() {
            // Now and not when they are first used together with a step.
            keep.iter().for_each(|keep| gpu.submit(keep));
        }
        Ok(Self {
            allowed,
            soft_cap: config.final_logit_softcapping.map(|cap| cap as f32),
            parts: gpu.stretches(vocabulary)?,
            ids,
            keep,
            readbacks: (0..SUBMISSIONS_UNDER_WAY)
                .map(|_| gpu.readback(all_found.len()))
                .collect::<Result<_, _>>()?,
            found,
            all_found,
            workshop,
            picking,
        })
    }

    pub(crate) fn picking(&self) -> &Picking {
        &self.picking
    }

    /// Uploads what the steps need that are submitted next.
    pub(crate) fn steer(&self, gpu: &Gpu, steering: Steering<'_>) -> Result<(), GpuError> {
        if let (Some(workshop), Picking::One(how)) = (&self.workshop, &self.picking) {
            if how.sampling.is_some() {
                let places = std::iter::once(&workshop.number).chain(&workshop.later);
                for (place, number) in places.zip(steering.numbers) {
                    gpu.write_indices(place, &[number.to_bits()])?;
                }
                workshop.given.set(steering.numbers.len());
            }
            if how.repetition_penalty != 1.0 {
                gpu.write_indices(&workshop.seen, steering.seen)?;
            }
            if how.constrained {
                gpu.write_indices(&workshop.permitted, steering.permitted)?;
            }
        }
        Ok(())
    }

    /// Records the way from `logits` `[1, vocabulary]` to the picked token and its probability;
    /// [`Picker::submit`] brings both to where the CPU can read them. `span` moves on by `advance`.
    pub(crate) fn record(
        &self,
        r: &mut Recorder,
        logits: &Tensor,
        (token, span, advance): (&Indices, &Indices, usize),
    ) {
        let (ids, count, near) = match &self.picking {
            Picking::One(how) => {
                self.record_one(r, how, logits, (token, span, advance));
                (token, 1, how.near)
            }
            Picking::Few { count, also } => {
                r.top(logits, self.allowed, *count, &self.ids, (span, advance));
                r.log_sum_exp(logits, self.soft_cap, &self.parts);
                (&self.ids, count + also.len(), Neighbours::default())
            }
        };
        r.log_probs(
            logits,
            self.soft_cap,
            &self.parts,
            (ids, count),
            near,
            &self.found,
        );
    }

    /// Steps that [`Picker::submit`] takes at once: one where each depends on the token before.
    pub(crate) fn steps_at_once(&self) -> usize {
        self.keep.len()
    }

    /// So many steps would draw with numbers of their own, or none draws.
    pub(crate) fn has_numbers(&self, steps: usize) -> bool {
        match (&self.workshop, &self.picking) {
            (Some(workshop), Picking::One(how)) if how.sampling.is_some() => {
                workshop.given.get() >= steps
            }
            _ => true,
        }
    }

    /// Submits a program that this picker ends, so many times, one after the other. `turn` counts the
    /// submissions; no more than [`SUBMISSIONS_UNDER_WAY`] may be waited for.
    pub(crate) fn submit(
        &self,
        gpu: &Gpu,
        program: &Program,
        steps: usize,
        turn: usize,
    ) -> Submission {
        let readback = &self.readbacks[turn % SUBMISSIONS_UNDER_WAY];
        if let Some(workshop) = &self.workshop {
            workshop.given.set(0);
        }
        if steps == 1 {
            return gpu.submit_and_copy(&[program], &self.found, readback);
        }
        let kept = self.keep.iter().take(steps);
        let programs: Vec<&Program> = kept.flat_map(|keep| [program, keep]).collect();
        gpu.submit_and_copy(&programs, &self.all_found, readback)
    }

    fn record_one(
        &self,
        r: &mut Recorder,
        how: &PickOne,
        logits: &Tensor,
        (token, span, advance): (&Indices, &Indices, usize),
    ) {
        let Some(w) = &self.workshop else {
            // The soft cap rises with the logits, so the highest is the same without.
            let to = (token, span, advance);
            return r.argmax_and_log_sum_exp(logits, self.soft_cap, &self.parts, self.allowed, to);
        };
        r.log_sum_exp(logits, self.soft_cap, &self.parts);
        let processing = Processing {
            allowed: self.allowed,
            soft_cap: self.soft_cap,
            permitted: how.constrained.then_some(&w.permitted),
            penalty: (how.repetition_penalty != 1.0).then_some((&w.seen, how.repetition_penalty)),
            temperature: how.sampling.map_or(1.0, |sampling| sampling.temperature),
        };
        r.process_logits(logits, processing, &w.processed);
        let Some(sampling) = how.sampling else {
            r.argmax(&w.processed, self.allowed, token, span, advance);
            return;
        };
        r.log_sum_exp(&w.processed, None, &w.parts);
        let mut floor = &w.everything;
        if let Some(count) = sampling.top_k {
            r.threshold(&w.processed, &w.parts, Keep::Top(count), floor, &w.top);
            floor = &w.top;
        }
        if sampling.top_p < 1.0 {
            let keep = Keep::Share(sampling.top_p);
            r.threshold(&w.processed, &w.parts, keep, floor, &w.share);
            floor = &w.share;
        }
        let to = (token, span, advance);
        r.draw(&w.processed, &w.parts, floor, &w.number, to);
    }

    /// What each step of a submission found: one token, or the best few and then those wanted beside
    /// them.
    pub(crate) async fn take(
        &self,
        gpu: &Gpu,
        of: &Submitted,
    ) -> Result<Vec<Vec<Scored>>, GpuError> {
        let readback = &self.readbacks[of.turn % SUBMISSIONS_UNDER_WAY];
        let words = gpu.read_after(readback, &of.submission).await?;
        let scored = |words: &[u32]| Scored {
            id: words[0],
            log_prob: f32::from_bits(words[1]),
            near: [2, 3, 4, 5].map(|i| f32::from_bits(words[i])),
        };
        let step = |words: &[u32]| words.chunks_exact(FOUND_WORDS).map(scored).collect();
        let steps = words.chunks_exact(self.found.len()).take(of.steps);
        Ok(steps.map(step).collect())
    }
}
