use std::fmt::Write as _;

use paligemma_engine::{Folder, Gpu, GpuOptions, Inspection, Recipe, inspect_adapted};

use crate::adapter;
use crate::args::InspectArgs;
use crate::failure::{Failure, print, whole};
use crate::prompts;

/// `paligemma inspect`.
pub(crate) async fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    whole(&args.model)?;
    let gpu = Gpu::open(&GpuOptions::default()).await;
    let adapter = gpu.as_ref().ok().map(Gpu::info);
    let lora = adapter::open(args.adapter.as_deref()).await?;
    let model = Folder::new(&args.model);
    let found = inspect_adapted(model, lora, args.recipe.as_ref(), adapter)
        .await
        .map_err(|error| Failure::about(&args.model, &error))?;
    let mut out = describe(&found);
    out.push_str(&prompts::describe(&args.model, &found));
    match &gpu {
        Ok(gpu) => {
            let info = gpu.info();
            let _ = writeln!(
                out,
                "adapter     {} ({}), bindings of at most {}",
                info.name,
                info.backend,
                bytes(info.max_binding_bytes)
            );
            if let Some(stored) = &found.stored {
                if stored.misfits.is_empty() {
                    out.push_str("fits        every row and every activation fits a binding\n");
                }
                for misfit in &stored.misfits {
                    let needed = bytes(misfit.needed);
                    let _ = writeln!(out, "does not fit: {} needs {needed}", misfit.what);
                }
            }
        }
        Err(error) => {
            let _ = writeln!(out, "adapter     none: {error}");
        }
    }
    print(&out)
}

fn describe(found: &Inspection) -> String {
    let (model, text, vision) = (&found.model, &found.config.text, &found.config.vision);
    let mut out = format!(
        "family      {}\nparameters  {}\n",
        model.family, model.parameters
    );
    match &found.stored {
        Some(stored) => {
            let _ = writeln!(out, "weights     {}", bytes(model.bytes));
            for (precision, (tensors, weights, size)) in &stored.precisions {
                let size = bytes(*size);
                let _ = writeln!(
                    out,
                    "  {precision:<8}  {tensors} tensors, {weights} weights, {size}"
                );
            }
        }
        None => out.push_str("weights     not here; sizes are as if they were bf16\n"),
    }
    if let Some(plan) = &found.packed {
        let origin = match (&plan.origin.repository, &plan.origin.commit) {
            (Some(name), Some(commit)) => format!(", from {name} at {commit}"),
            (Some(name), None) => format!(", from {name}"),
            _ => String::new(),
        };
        let _ = writeln!(
            out,
            "packed      by recipe {} in {} pieces, {} with its side files{origin}",
            plan.recipe,
            plan.pieces(),
            bytes(plan.total_bytes()),
        );
        if let Some(adapter) = &plan.adapter {
            let _ = writeln!(out, "merged      with the adapter {}", adapter.sha256);
        }
    }
    if let Some(lora) = &found.lora {
        out.push_str(&adapter::describe(lora));
    }
    for (recipe, size) in &found.recipes {
        let _ = writeln!(
            out,
            "  {:<8}  {}{}",
            recipe.name,
            bytes(*size),
            precisions(recipe)
        );
    }
    let _ = write!(
        out,
        "vision      {} layers, hidden {}, {} heads of {}, picture {}×{}, {} tokens\n\
         decoder     {} layers, hidden {}, {} heads of {}, {} key-value heads, MLP {}, vocabulary {}\n\
         context     {} tokens; keys and values of one picture and some text take {}\n",
        vision.num_hidden_layers,
        vision.hidden_size,
        vision.num_attention_heads,
        vision.head_dim(),
        vision.image_size,
        vision.image_size,
        model.image_tokens,
        text.num_hidden_layers,
        text.hidden_size,
        text.num_attention_heads,
        text.head_dim,
        text.num_key_value_heads,
        text.intermediate_size,
        text.vocab_size,
        model.context,
        bytes(found.kv_cache_bytes),
    );
    out
}

/// What a recipe does with each part.
fn precisions(recipe: &Recipe) -> String {
    let parts = [
        ("decoder", recipe.decoder),
        ("vocabulary", recipe.vocabulary),
        ("vision", recipe.vision),
        ("projector", recipe.projector),
    ];
    let named: Vec<String> = parts
        .into_iter()
        .filter_map(|(part, precision)| {
            let precision = precision?;
            Some(format!(
                "{part} {precision} ({} bits)",
                precision.bits_per_weight()
            ))
        })
        .collect();
    if named.is_empty() {
        String::new()
    } else {
        format!(": {}", named.join(", "))
    }
}

/// Decimal units, as disks and downloads are measured.
pub(crate) fn bytes(count: u64) -> String {
    let count = count as f64;
    match count {
        c if c >= 1e9 => format!("{:.2} GB", c / 1e9),
        c if c >= 1e6 => format!("{:.1} MB", c / 1e6),
        c if c >= 1e3 => format!("{:.1} kB", c / 1e3),
        c => format!("{c} bytes"),
    }
}
