//! Resolves `shaders/*.wesl` into WGSL, once per weight storage where a shader reads weights,
//! validates each with naga and derives its binding list and workgroup size, so that neither is
//! written a second time in Rust.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The storage types that `shared/weight.wesl` knows.
const STORAGES: [&str; 6] = ["f32", "f16", "bf16", "q8", "q4", "int4"];
/// Those that are no codes.
const FLOATS: [&str; 3] = ["f32", "f16", "bf16"];
/// Those that `shared/weight_wide.wesl` and `shared/matvec_fours.wesl` read too, in larger words.
const WIDE: [&str; 3] = ["q8", "q4", "int4"];

/// Those that `matmul_half`, `matmul_cooperative`, `matmul_dots` and `matvec_fours` of bytes multiply with:
/// their codes are exact in 16-bit floats and in bytes.
const CODES: [&str; 2] = ["q8", "q4"];

/// What else a shader may be resolved with: weights in larger words, sums by subgroups, a cache of
/// 16-bit floats or of bytes, cooperative matrices of 16 × 16 instead of 8 × 8, the best beside a sum,
/// a row that is read as bytes, one that is also written as such, one whose norm is computed on the way,
/// few invocations for adapters that compute on the CPU.
const FEATURES: [&str; 10] = [
    "wide",
    "subgroups",
    "kv16",
    "kv8",
    "sixteen",
    "best",
    "bytes",
    "packs",
    "norms",
    "serial",
];

fn main() -> Result<(), String> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(|e| e.to_string())?);
    let out_dir = PathBuf::from(env::var("OUT_DIR").map_err(|e| e.to_string())?);
    let shaders = manifest.join("../../shaders");
    println!("cargo::rerun-if-changed={}", shaders.display());

    // Where wgpu is compiled with its Vulkan back end.
    println!("cargo::rustc-check-cfg=cfg(vulkan)");
    let system = env::var("CARGO_CFG_TARGET_OS").map_err(|e| e.to_string())?;
    if matches!(&*system, "linux" | "windows") {
        println!("cargo::rustc-cfg=vulkan");
    }

    let mut names: Vec<String> = fs::read_dir(&shaders)
        .map_err(|e| format!("{}: {e}", shaders.display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|file| Some(file.strip_suffix(".wesl")?.to_owned()))
        .collect();
    names.sort();

    // Browsers have no cooperative matrices, and their pages are to be small.
    let for_browsers = env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("wasm32");
    if for_browsers {
        names.retain(|name| name != "matmul_cooperative");
    }
    let mut rust = String::new();
    let mut all = String::new();
    for name in &names {
        let source = fs::read_to_string(shaders.join(format!("{name}.wesl")))
            .map_err(|e| format!("{name}: {e}"))?;
        let has_matvec = source.contains("package::shared::matvec::");
        let mut variants = Vec::new();
        if source.contains("@if(kv16)") {
            variants.extend([vec![], vec!["kv16"], vec!["kv8"]]);
        } else if source.contains("@if(best)") {
            variants.extend([vec![], vec!["best"]]);
        } else if source.contains("@if(sixteen)") {
            let both = |storage| [vec![storage], vec![storage, "sixteen"]];
            variants.extend(CODES.into_iter().flat_map(both));
        } else if source.contains("import package::shared::weight::{code_") {
            variants.extend(CODES.map(|storage| vec![storage]));
        } else if source.contains("package::shared::matvec")
            || source.contains("package::shared::weight")
        {
            variants.extend(STORAGES.map(|storage| vec![storage]));
        } else {
            variants.push(vec![]);
        }
        let packs = source.contains("@if(packs)");
        if source.contains("package::shared::matvec_fours") {
            variants.extend(WIDE.map(|storage| vec![storage, "wide"]));
            variants.extend(CODES.map(|storage| vec![storage, "wide", "bytes"]));
            let both = CODES.map(|storage| vec![storage, "wide", "bytes", "packs"]);
            variants.extend(both.into_iter().filter(|_| packs));
            // Rows of the decoder are of whole chunks, but for made-up ones.
            variants.extend(FLOATS.map(|storage| vec![storage, "norms"]));
            variants.extend(WIDE.map(|storage| vec![storage, "wide", "norms"]));
        } else if packs {
            variants.push(vec!["packs"]);
        }
        if has_matvec {
            variants.extend(WIDE.map(|storage| vec![storage, "wide"]));
            variants.extend(WIDE.map(|storage| vec![storage, "wide", "subgroups"]));
        }
        // Sized by what `shared/reduce_row.wesl` says there.
        if source.contains("@workgroup_size(ROW_LANES)") {
            let serial = |it: &Vec<&'static str>| [&it[..], &["serial"]].concat();
            let both: Vec<Vec<&str>> = variants.iter().map(serial).collect();
            variants.extend(both);
        }
        for features in variants {
            let variant = [&[name.as_str()], &features[..]].concat().join("_");
            let wgsl = resolve(&shaders, name, &features)?;
            let storage = STORAGES.into_iter().find(|it| features.contains(it));
            let needs = if wgsl.contains("enable wgpu_cooperative_matrix;") {
                "Some(Feature::CooperativeMatrix)"
            } else if wgsl.contains("enable f16;") {
                "Some(Feature::F16)"
            } else if features.contains(&"subgroups") {
                "Some(Feature::Subgroups)"
            } else {
                "None"
            };
            let (bindings, size, folds) = reflect(&variant, &wgsl)?;
            let file = out_dir.join(format!("{variant}.wgsl"));
            let wgsl = if for_browsers { trimmed(&wgsl) } else { wgsl };
            fs::write(&file, &wgsl).map_err(|e| format!("{}: {e}", file.display()))?;
            let constant = variant.to_uppercase();
            let _ = writeln!(
                rust,
                "/// `shaders/{name}.wesl`{}.\n\
                 pub static {constant}: Shader = Shader {{\n    name: {variant:?},\n    \
                 source: include_str!(concat!(env!(\"OUT_DIR\"), \"/{variant}.wgsl\")),\n    \
                 workgroup_size: {size:?},\n    folds: {folds},\n    needs: {needs},\n    \
                 bindings: &[{}],\n}};\n",
                storage.map_or_else(String::new, |storage| {
                    format!(" over weights stored as {storage}")
                }),
                bindings.join(", "),
            );
            let _ = write!(all, "&{constant}, ");
        }
    }
    let _ = writeln!(
        rust,
        "/// Every shader.\npub static ALL: &[&Shader] = &[{all}];"
    );
    fs::write(out_dir.join("shaders.rs"), rust).map_err(|e| e.to_string())
}

/// Without what only people need: a page carries all of them.
fn trimmed(wgsl: &str) -> String {
    let lines = wgsl.lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

fn resolve(shaders: &Path, name: &str, features: &[&str]) -> Result<String, String> {
    let mut compiler = wesl::Wesl::new(shaders);
    // naga does that below, and knows functions that wesl does not: `dot4I8Packed`.
    compiler.set_options(wesl::CompileOptions {
        validate: false,
        ..Default::default()
    });
    for known in STORAGES.into_iter().chain(FEATURES) {
        compiler.set_feature(known, features.contains(&known));
    }
    let root = format!("package::{name}")
        .parse()
        .map_err(|e| format!("{name}: {e:?}"))?;
    compiler
        .compile(&root)
        .map(|compiled| compiled.to_string())
        .map_err(|e| format!("{name}: {e}"))
}

/// Bindings in the order of their numbers, the workgroup size, and whether the entry point
/// asks for the number of workgroups.
fn reflect(name: &str, wgsl: &str) -> Result<(Vec<String>, [u32; 3], bool), String> {
    let module = naga::front::wgsl::parse_str(wgsl)
        .map_err(|e| format!("{name}: {}", e.emit_to_string(wgsl)))?;
    naga::valid::Validator::new(
        naga::valid::ValidationFlags::all(),
        naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32
            | naga::valid::Capabilities::SHADER_FLOAT16
            | naga::valid::Capabilities::COOPERATIVE_MATRIX
            | naga::valid::Capabilities::SUBGROUP,
    )
    .validate(&module)
    .map_err(|e| format!("{name}: {}", e.emit_to_string(wgsl)))?;

    let mut bindings = Vec::new();
    for (_, variable) in module.global_variables.iter() {
        let Some(binding) = &variable.binding else {
            continue;
        };
        if binding.group != 0 {
            return Err(format!(
                "{name}: only group 0 is used, not {}",
                binding.group
            ));
        }
        let kind = match variable.space {
            naga::AddressSpace::Uniform => "Binding::Uniform",
            naga::AddressSpace::Storage { access }
                if access.contains(naga::StorageAccess::STORE) =>
            {
                "Binding::ReadWrite"
            }
            naga::AddressSpace::Storage { .. } => "Binding::Read",
            other => return Err(format!("{name}: unexpected address space {other:?}")),
        };
        bindings.push((binding.binding, kind.to_owned()));
    }
    bindings.sort();
    let entry = module
        .entry_points
        .first()
        .filter(|_| module.entry_points.len() == 1)
        .ok_or_else(|| format!("{name}: exactly one entry point is expected"))?;
    let folds = entry.function.arguments.iter().any(|argument| {
        let number = naga::BuiltIn::NumWorkGroups;
        argument.binding == Some(naga::Binding::BuiltIn(number))
    });
    Ok((
        bindings
            .into_iter()
            .map(|(number, kind)| format!("({number}, {kind})"))
            .collect(),
        entry.workgroup_size,
        folds,
    ))
}
