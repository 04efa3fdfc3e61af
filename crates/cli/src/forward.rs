use std::collections::BTreeMap;

use paligemma_engine::{NamedTensor, RunRequest};
use safetensors::tensor::{Dtype, TensorView};

use crate::args::ForwardArgs;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::run::{open, prompt};

/// `paligemma forward`.
pub(crate) async fn forward(args: &ForwardArgs) -> Result<(), Failure> {
    let progress = Progress::new();
    let (mut engine, pictures) = open(&args.input, None, &progress).await?;
    let request = RunRequest {
        pictures: &pictures,
        prompt: prompt(&args.input),
        max_new_tokens: 0,
    };
    let (ids, tensors) = engine
        .forward(&request)
        .await
        .map_err(|error| Failure::about(&args.input.model, &error))?;
    drop(progress);
    write(args, &ids, &tensors)
}

fn write(args: &ForwardArgs, ids: &[u32], tensors: &[NamedTensor]) -> Result<(), Failure> {
    let path = args.out.display();
    let wide = |ids: &mut dyn Iterator<Item = u32>| -> Vec<u8> {
        ids.flat_map(|id| i64::from(id).to_le_bytes()).collect()
    };
    let mut files: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = vec![
        (
            "input_ids".to_owned(),
            Dtype::I64,
            vec![1, ids.len()],
            wide(&mut ids.iter().copied()),
        ),
        // A prompt is all prefix.
        (
            "token_type_ids".to_owned(),
            Dtype::I64,
            vec![1, ids.len()],
            wide(&mut ids.iter().map(|_| 0)),
        ),
    ];
    for tensor in tensors {
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
