//! `adapter_config.json`, so far as it says how to merge.

use serde_json::Value;

use super::MERGE_FIRST;
use super::patterns::{ByPattern, Targets};
use crate::error::{CheckpointError, shown};
use crate::fields::{Section, parse};

/// Says what the adapter is.
pub(crate) const CONFIG_FILE: &str = "adapter_config.json";

/// More than any layer has inputs.
const LARGEST_RANK: usize = 1 << 16;

/// Fields whose presence makes something else of the adapter than `W + scale · B·A`, and what.
const OTHER_KINDS: [(&str, &str); 15] = [
    ("use_dora", "DoRA"),
    ("lora_bias", "a bias for B"),
    ("fan_in_fan_out", "transposed weights"),
    ("modules_to_save", "whole modules beside the matrices"),
    ("trainable_token_indices", "single rows of the embedding"),
    ("target_parameters", "parameters that are no layers"),
    ("layer_replication", "repeated layers"),
    ("alora_invocation_tokens", "activated LoRA"),
    ("use_qalora", "QALoRA"),
    ("use_bdlora", "block-diagonal LoRA"),
    ("arrow_config", "Arrow routing"),
    ("kasa_config", "KaSA"),
    ("monteclora_config", "Monte Carlo LoRA"),
    ("velora_config", "VeLoRA"),
    ("megatron_config", "Megatron layers"),
];

/// Ways to initialize the matrices that leave the base model's weights as they were.
const HARMLESS_BEGINNINGS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// A checked configuration.
#[derive(Debug)]
pub(crate) struct LoraConfig {
    /// The checkpoint it was trained on, as its author calls it.
    pub(crate) base: Option<String>,
    /// Which modules it is meant for.
    pub(crate) targets: Targets,
    rank: usize,
    alpha: f64,
    rank_stabilized: bool,
    ranks: ByPattern,
    alphas: ByPattern,
}

impl LoraConfig {
    pub(crate) fn from_json(text: &[u8]) -> Result<Self, CheckpointError> {
        let value = parse(CONFIG_FILE, text)?;
        let fields = Section::root(CONFIG_FILE, &value)?;
        check_kind(&fields)?;
        let rank = fields.size("r", 8, LARGEST_RANK)?;
        let alpha = match fields.get("lora_alpha") {
            None => 8.0,
            Some(value) => number(value).ok_or_else(|| not_a_number(&fields, "lora_alpha"))?,
        };
        let ranks = ByPattern::new(&fields, text, "rank_pattern", |value| {
            let rank = value.as_u64()?;
            (1..=LARGEST_RANK as u64)
                .contains(&rank)
                .then_some(rank as f64)
        })?;
        Ok(Self {
            base: fields.text("base_model_name_or_path")?.map(shown),
            targets: Targets::new(&fields)?,
            rank,
            alpha,
            rank_stabilized: fields.flag("use_rslora")?.unwrap_or(false),
            ranks,
            alphas: ByPattern::new(&fields, text, "alpha_pattern", number)?,
        })
    }

    /// The rank of a module and the factor before its B·A. `module` is its path in the model that
    /// was trained.
    pub(crate) fn rank_and_scale(&self, module: &str) -> Result<(usize, f32), CheckpointError> {
        let rank = self.ranks.of(module)?.unwrap_or(self.rank as f64);
        let alpha = self.alphas.of(module)?.unwrap_or(self.alpha);
        let divisor = if self.rank_stabilized {
            rank.sqrt()
        } else {
            rank
        };
        Ok((rank as usize, (alpha / divisor) as f32))
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| (*number as f32).is_finite())
}

fn not_a_number(fields: &Section<'_>, name: &str) -> CheckpointError {
    fields.error(name, "is not a number", "export the adapter again")
}

/// Refuses what is not plain LoRA.
fn check_kind(fields: &Section<'_>) -> Result<(), CheckpointError> {
    match fields.text("peft_type")? {
        Some("LORA") => {}
        Some(other) => {
            let reason = format!("is \"{}\" where only LORA is supported", shown(other));
            return Err(fields.error("peft_type", reason, MERGE_FIRST));
        }
        None => {
            return Err(fields.error(
                "peft_type",
                "is missing",
                "use an adapter that PEFT saved, of the type LORA",
            ));
        }
    }
    if let Some(bias) = fields.text("bias")?.filter(|bias| *bias != "none") {
        let reason = format!("is \"{}\", trained biases are not supported", shown(bias));
        return Err(fields.error("bias", reason, MERGE_FIRST));
    }
    for (name, what) in OTHER_KINDS {
        let there = match fields.get(name) {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Array(list)) => !list.is_empty(),
            Some(Value::Object(fields)) => !fields.is_empty(),
            Some(_) => true,
        };
        if there {
            let reason = format!("asks for {what}, which is not supported");
            return Err(fields.error(name, reason, MERGE_FIRST));
        }
    }
    // PiSSA and its like subtract something from the base model's weights before they train.
    let name = "init_lora_weights";
    match fields.get(name) {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(Value::String(how)) if HARMLESS_BEGINNINGS.contains(&how.to_lowercase().as_str()) => {
            Ok(())
        }
        Some(other) => {
            let other = other.to_string();
            let reason = format!(
                "is {}, and only true, false, gaussian, eva and orthogonal leave the base model's \
                 weights as they are",
                shown(&other)
            );
            Err(fields.error(name, reason, MERGE_FIRST))
        }
    }
}
