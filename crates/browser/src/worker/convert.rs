//! The engine's data as the protocol's.

use paligemma_checkpoint::{
    CheckpointError, IngestError, PackedError, Progress, SourceError, Stage, StoreError,
};
use paligemma_engine as engine;

use super::tuned;
use crate::protocol::{
    AdapterInfo, Answer, CachePrecision, Detection, FetchProgress, FetchStage, Generation,
    LoadOptions, ModelInfo, Problem, ProblemKind, Stopped, Timings,
};

pub(super) fn problem(error: &engine::EngineError) -> Problem {
    let kind = match error {
        engine::EngineError::Source(error) => source_kind(error),
        error => kind(error.kind()),
    };
    Problem {
        kind,
        message: error.to_string(),
    }
}

pub(super) fn source_problem(error: &SourceError) -> Problem {
    Problem {
        kind: source_kind(error),
        message: error.to_string(),
    }
}

fn source_kind(error: &SourceError) -> ProblemKind {
    match error {
        SourceError::Denied { .. } => ProblemKind::Token,
        SourceError::Changed { .. } => ProblemKind::Changed,
        _ => ProblemKind::Network,
    }
}

pub(super) fn store_problem(error: &StoreError) -> Problem {
    Problem {
        kind: store_kind(error),
        message: error.to_string(),
    }
}

fn store_kind(error: &StoreError) -> ProblemKind {
    match error {
        StoreError::Damaged { .. } => ProblemKind::Damaged,
        _ => ProblemKind::Storage,
    }
}

pub(super) fn checkpoint_problem(error: CheckpointError) -> Problem {
    problem(&error.into())
}

pub(super) fn ingest_problem(error: &IngestError) -> Problem {
    let message = match error {
        // There is nothing to repair here: it is damaged where it comes from.
        IngestError::Packed(PackedError::Piece { index, .. }) => format!(
            "piece {index} of the model arrives damaged again and again: try again later, or tell \
             whoever serves it"
        ),
        IngestError::Packed(PackedError::File { path, .. }) => format!(
            "{path} of the model arrives damaged: try again later, or tell whoever serves it"
        ),
        other => other.to_string(),
    };
    let kind = match error {
        IngestError::Checkpoint(CheckpointError::Source(error)) => source_kind(error),
        IngestError::Checkpoint(_) | IngestError::Quantize { .. } => ProblemKind::Checkpoint,
        // What a server has is damaged, not what is kept.
        IngestError::Packed(PackedError::Piece { .. } | PackedError::File { .. }) => {
            ProblemKind::Network
        }
        IngestError::Packed(_) => ProblemKind::Checkpoint,
        IngestError::Store(error) => store_kind(error),
        IngestError::Different { .. }
        | IngestError::Changed { .. }
        | IngestError::Replaced { .. } => ProblemKind::Changed,
    };
    Problem { kind, message }
}

/// `more` bytes have arrived of what comes next.
pub(super) fn fetch_progress(progress: &Progress, more: u64) -> FetchProgress {
    FetchProgress {
        stage: match progress.stage {
            Stage::Files => FetchStage::Files,
            Stage::Weights => FetchStage::Weights,
            Stage::Checking => FetchStage::Checking,
        },
        fetched_bytes: (progress.read_bytes + more).min(progress.total_read_bytes),
        fetch_bytes: progress.total_read_bytes,
        stored_bytes: progress.stored_bytes,
        store_bytes: progress.total_stored_bytes,
    }
}

fn kind(kind: engine::ErrorKind) -> ProblemKind {
    match kind {
        engine::ErrorKind::NoAdapter => ProblemKind::NoAdapter,
        engine::ErrorKind::LimitsTooSmall => ProblemKind::LimitsTooSmall,
        engine::ErrorKind::OutOfMemory => ProblemKind::OutOfMemory,
        engine::ErrorKind::DeviceLost => ProblemKind::DeviceLost,
        engine::ErrorKind::Picture => ProblemKind::Picture,
        engine::ErrorKind::Source => ProblemKind::Network,
        engine::ErrorKind::Store => ProblemKind::Storage,
        engine::ErrorKind::Damaged => ProblemKind::Damaged,
        engine::ErrorKind::Checkpoint => ProblemKind::Checkpoint,
        engine::ErrorKind::Prompt => ProblemKind::Prompt,
        engine::ErrorKind::Internal => ProblemKind::Internal,
    }
}

pub(super) fn load_options(options: &LoadOptions) -> engine::LoadOptions {
    let mut loading = engine::LoadOptions::default();
    loading.gpu.tuning = tuned::options(&options.tuned);
    loading.model.cache = options.cache.map(cache_precision);
    loading
}

pub(super) fn cache_precision(cache: CachePrecision) -> engine::CachePrecision {
    match cache {
        CachePrecision::F32 => engine::CachePrecision::F32,
        CachePrecision::F16 => engine::CachePrecision::F16,
        CachePrecision::Int8 => engine::CachePrecision::Int8,
    }
}

pub(super) fn model(model: &engine::ModelInfo, gives_masks: bool) -> ModelInfo {
    ModelInfo {
        family: model.family.to_owned(),
        parameters: model.parameters,
        bytes: model.bytes,
        image_size: u32::try_from(model.image_size).unwrap_or(u32::MAX),
        gives_masks,
    }
}

pub(super) fn adapter(adapter: &engine::AdapterInfo, choice: &engine::Choice) -> AdapterInfo {
    AdapterInfo {
        name: adapter.name.clone(),
        backend: match adapter.backend.as_str() {
            "webgpu" => "WebGPU".to_owned(),
            other => other.to_owned(),
        },
        is_software: adapter.is_software,
        kernels: format!("{} ({})", choice.variants, choice.origin),
    }
}

/// `scores` has one for each detection.
pub(super) fn detections(detections: &[engine::Detection], scores: &[f32]) -> Vec<Detection> {
    detections
        .iter()
        .enumerate()
        .map(|(index, detection)| Detection {
            label: detection.label.clone(),
            bbox: detection.bbox,
            score: scores.get(index).copied(),
        })
        .collect()
}

pub(super) fn generation(generation: &Generation) -> engine::Generation {
    let (greedy, plain) = (engine::Generation::default(), engine::Sampling::default());
    let count = |count: Option<u32>| count.map(|count| count as usize);
    let draws = generation.temperature.is_some()
        || generation.top_k.is_some()
        || generation.top_p.is_some()
        || generation.seed.is_some();
    engine::Generation {
        sampling: draws.then(|| engine::Sampling {
            temperature: generation.temperature.unwrap_or(plain.temperature),
            top_k: count(generation.top_k),
            top_p: generation.top_p.unwrap_or(plain.top_p),
            seed: generation.seed.unwrap_or(plain.seed),
        }),
        repetition_penalty: generation
            .repetition_penalty
            .unwrap_or(greedy.repetition_penalty),
        best_of: count(generation.best_of).unwrap_or(greedy.best_of),
        num_beams: count(generation.num_beams).unwrap_or(greedy.num_beams),
        stop_ids: generation.stop_ids.clone(),
        constrained: generation.constrained,
        dedupe: generation.dedupe,
    }
}

pub(super) fn answer(answer: engine::Answer) -> Answer {
    Answer {
        detections: detections(&answer.detections, &answer.scores),
        text: answer.text,
        token_ids: answer.token_ids,
        logprobs: answer.logprobs,
        stopped: match answer.stopped {
            engine::Stopped::Eos => Stopped::Eos,
            engine::Stopped::Length => Stopped::Length,
            engine::Stopped::Cancelled => Stopped::Cancelled,
        },
        timings: Timings {
            vision_ms: answer.timings.vision_ms,
            prefill_ms: answer.timings.prefill_ms,
            decode_ms: answer.timings.decode_ms,
            tokens_per_second: answer.timings.tokens_per_second,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the engine gets what a page asked for in a message.
    fn sent(asked: &Generation) -> engine::Generation {
        let message = serde_json::to_string(asked).unwrap();
        let heard: Generation = serde_json::from_str(&message).unwrap();
        assert_eq!(heard, *asked, "{message}");
        generation(&heard)
    }

    #[test]
    fn every_option_of_generation_reaches_the_engine() {
        let asked = Generation {
            temperature: Some(0.7),
            top_k: Some(u32::MAX),
            top_p: Some(0.5),
            seed: Some(u64::MAX),
            repetition_penalty: Some(1.25),
            best_of: Some(3),
            num_beams: Some(2),
            stop_ids: vec![1, 257_151],
            constrained: true,
            dedupe: Some(0.25),
        };
        let wanted = engine::Generation {
            sampling: Some(engine::Sampling {
                temperature: 0.7,
                top_k: Some(u32::MAX as usize),
                top_p: 0.5,
                seed: u64::MAX,
            }),
            repetition_penalty: 1.25,
            best_of: 3,
            num_beams: 2,
            stop_ids: vec![1, 257_151],
            constrained: true,
            dedupe: Some(0.25),
        };
        assert_eq!(sent(&asked), wanted);
    }

    #[test]
    fn what_is_left_out_is_as_the_engine_has_it() {
        let greedy = engine::Generation::default();
        assert_eq!(sent(&Generation::default()), greedy);
        let nothing: Generation = serde_json::from_str("{}").unwrap();
        assert_eq!(generation(&nothing), greedy);
        let seed = Generation {
            seed: Some(0),
            ..Generation::default()
        };
        let drawn = engine::Generation {
            sampling: Some(engine::Sampling::default()),
            ..greedy
        };
        assert_eq!(sent(&seed), drawn);
    }

    #[test]
    fn keys_and_values_are_kept_as_a_message_says() {
        let heard = |message: &str| serde_json::from_str::<LoadOptions>(message);
        assert_eq!(heard("{}").unwrap(), LoadOptions::default());
        for (name, kept) in [
            ("f32", engine::CachePrecision::F32),
            ("f16", engine::CachePrecision::F16),
            ("int8", engine::CachePrecision::Int8),
        ] {
            let options = heard(&format!(r#"{{"cache":"{name}"}}"#)).unwrap();
            assert_eq!(options.cache.map(cache_precision), Some(kept));
        }
        assert!(heard(r#"{"cache":"int4"}"#).is_err());
    }

    #[test]
    fn a_seed_is_digits() {
        for seed in ["7", "-1", r#""-1""#, r#""7x""#, r#""18446744073709551616""#] {
            let message = format!(r#"{{"seed":{seed}}}"#);
            let heard = serde_json::from_str::<Generation>(&message);
            assert!(heard.is_err(), "{message}");
        }
    }
}
