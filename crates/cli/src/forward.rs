use std::collections::BTreeMap;

use paligemma_engine::{LogitsToKeep, RunRequest, Trace, TraceOptions};
use safetensors::tensor::{Dtype, TensorView};

use crate::args::ForwardArgs;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::run::{open, prompt};

/// Name, type, shape and bytes of a tensor.
type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

/// `paligemma forward`.
pub(crate) async fn forward(args: &ForwardArgs) -> Result<(), Failure> {
    let progress = Progress::new();
    let (mut engine, pictures) = open(&args.input, None, &progress).await?;
    let request = RunRequest {
        pictures: &pictures,
        prompt: prompt(&args.input),
        max_new_tokens: 0,
    };
    let options = TraceOptions {
        // As prompts are: a trailing newline would change its tokens.
        suffix: args.suffix.as_deref().map(str::trim),
        attentions: args.attentions,
        logits_to_keep: Some(LogitsToKeep::from(args.logits_to_keep)),
    };
    let trace = engine
        .trace(&request, &options)
        .await
        .map_err(|error| Failure::about(&args.input.model, &error))?;
    drop(progress);
    write(args, &trace)
}

fn write(args: &ForwardArgs, trace: &Trace) -> Result<(), Failure> {
    let path = args.out.display();
    let ids = trace.input_ids.iter().map(|&id| i64::from(id));
    let types = trace.token_type_ids.iter().map(|&kind| i64::from(kind));
    let mut files = vec![
        integers("input_ids", ids),
        integers("token_type_ids", types),
    ];
    if let Some(labels) = &trace.labels {
        files.push(integers("labels", labels.iter().copied()));
    }
    if let Some(loss) = trace.loss.as_ref().and_then(|loss| loss.mean) {
        let bytes = loss.to_le_bytes().to_vec();
        files.push(("loss".to_owned(), Dtype::F32, vec![1], bytes));
    }
    for tensor in &trace.tensors {
        let bytes = tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        files.push((tensor.name.clone(), Dtype::F32, tensor.shape.clone(), bytes));
    }
    let mut views = BTreeMap::new();
    for (name, dtype, shape, bytes) in &files {
        let view = TensorView::new(*dtype, shape.clone(), bytes)
            .map_err(|error| Failure::other(format!("{name} has a wrong shape ({error})")))?;
        views.insert(name.as_str(), view);
    }
    safetensors::serialize_to_file(views, None, &args.out).map_err(|error| {
        Failure::mendable(format!(
            "{path}: the tensors cannot be written ({error}); check the path and the free space"
        ))
    })
}

/// A row of integers, the batch first.
fn integers(name: &str, numbers: impl Iterator<Item = i64>) -> Stored {
    let bytes: Vec<u8> = numbers.flat_map(i64::to_le_bytes).collect();
    let shape = vec![1, bytes.len() / 8];
    (name.to_owned(), Dtype::I64, shape, bytes)
}
