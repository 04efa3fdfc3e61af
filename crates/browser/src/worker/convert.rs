//! The engine's data as the protocol's.

use paligemma_engine as engine;

use crate::protocol::{
    AdapterInfo, Answer, Detection, ModelInfo, Problem, ProblemKind, Stopped, Timings,
};

pub(super) fn problem(error: &engine::EngineError) -> Problem {
    Problem {
        kind: kind(error.kind()),
        message: error.to_string(),
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
        engine::ErrorKind::Checkpoint => ProblemKind::Checkpoint,
        engine::ErrorKind::Prompt => ProblemKind::Prompt,
        engine::ErrorKind::Internal => ProblemKind::Internal,
    }
}

pub(super) fn model(model: &engine::ModelInfo) -> ModelInfo {
    ModelInfo {
        family: model.family.to_owned(),
        parameters: model.parameters,
        bytes: model.bytes,
        image_size: u32::try_from(model.image_size).unwrap_or(u32::MAX),
    }
}

pub(super) fn adapter(adapter: &engine::AdapterInfo) -> AdapterInfo {
    AdapterInfo {
        name: adapter.name.clone(),
        backend: match adapter.backend.as_str() {
            "webgpu" => "WebGPU".to_owned(),
            other => other.to_owned(),
        },
        is_software: adapter.is_software,
    }
}

pub(super) fn detections(detections: &[engine::Detection]) -> Vec<Detection> {
    detections
        .iter()
        .map(|detection| Detection {
            label: detection.label.clone(),
            bbox: detection.bbox,
        })
        .collect()
}

pub(super) fn answer(answer: engine::Answer) -> Answer {
    Answer {
        detections: detections(&answer.detections),
        text: answer.text,
        token_ids: answer.token_ids,
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
