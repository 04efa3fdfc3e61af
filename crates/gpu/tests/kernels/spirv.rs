//! What Vulkan gets of the kernels that decoding and prefill spend their time in: loads of 16
//! bytes, and no clamped index where nothing is checked.

use std::collections::HashMap;

use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use paligemma_gpu::shader::{ALL, Shader};

// Of the SPIR-V specification.
const EXT_INST: u16 = 12;
const TYPE_INT: u16 = 21;
const TYPE_FLOAT: u16 = 22;
const TYPE_VECTOR: u16 = 23;
const TYPE_POINTER: u16 = 32;
const LOAD: u16 = 61;
const ACCESS_CHAIN: u16 = 65;
const STORAGE_BUFFER: u32 = 12;
const GLSL_UMIN: u32 = 38;

fn shader(name: &str) -> &'static Shader {
    let found = ALL.iter().find(|shader| shader.name == name);
    found.unwrap_or_else(|| panic!("there is no {name}"))
}

/// As wgpu does it on an adapter with robust buffers; `index` is for arrays in workgroup memory.
fn words(shader: &Shader, index: BoundsCheckPolicy) -> Vec<u32> {
    let module = naga::front::wgsl::parse_str(shader.source).unwrap();
    let capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    let info = validator.validate(&module).unwrap();
    let constants = Default::default();
    let (module, info) =
        naga::back::pipeline_constants::process_overrides(&module, &info, None, &constants)
            .unwrap();
    let options = spv::Options {
        bounds_check_policies: BoundsCheckPolicies {
            index,
            buffer: BoundsCheckPolicy::Unchecked,
            image_load: BoundsCheckPolicy::Unchecked,
            binding_array: BoundsCheckPolicy::Unchecked,
        },
        ..Default::default()
    };
    spv::write_vec(&module, &info, &options, None).unwrap()
}

/// Opcode and operands of each instruction, after the header of five words.
fn instructions(words: &[u32]) -> Vec<(u16, &[u32])> {
    let mut rest = &words[5..];
    let mut all = Vec::new();
    while let Some(&first) = rest.first() {
        let count = (first >> 16) as usize;
        all.push((first as u16, &rest[1..count]));
        rest = &rest[count..];
    }
    all
}

/// Bytes of each load from a storage buffer.
fn loads(instructions: &[(u16, &[u32])]) -> Vec<u32> {
    let mut sizes = HashMap::new(); // of types
    let mut pointers = HashMap::new(); // type of a pointer into a buffer, to that of its target
    let mut places = HashMap::new(); // pointer, to the type of its target
    let mut loads = Vec::new();
    for (opcode, operands) in instructions {
        match (*opcode, *operands) {
            (TYPE_INT | TYPE_FLOAT, [id, bits, ..]) => {
                sizes.insert(*id, bits / 8);
            }
            (TYPE_VECTOR, [id, of, count]) => {
                // Truth values have no size.
                if let Some(size) = sizes.get(of) {
                    sizes.insert(*id, size * count);
                }
            }
            (TYPE_POINTER, [id, STORAGE_BUFFER, target]) => {
                pointers.insert(*id, *target);
            }
            (ACCESS_CHAIN, [kind, id, ..]) => {
                if let Some(target) = pointers.get(kind) {
                    places.insert(*id, *target);
                }
            }
            (LOAD, [_, _, pointer, ..]) => {
                let size = places.get(pointer).and_then(|target| sizes.get(target));
                loads.extend(size);
            }
            _ => {}
        }
    }
    loads
}

/// Of a kernel whose indices are not checked: the bytes of its loads, and how many have a size.
fn loads_of(name: &str) -> (Vec<u32>, impl Fn(u32) -> usize) {
    let loads = loads(&instructions(&words(
        shader(name),
        BoundsCheckPolicy::Unchecked,
    )));
    let sizes = loads.clone();
    let of = move |size| sizes.iter().filter(|bytes| **bytes == size).count();
    (loads, of)
}

fn clamps(instructions: &[(u16, &[u32])]) -> usize {
    let is_clamp = |(opcode, operands): &&(u16, &[u32])| {
        *opcode == EXT_INST && operands.get(3) == Some(&GLSL_UMIN)
    };
    instructions.iter().filter(is_clamp).count()
}

#[test]
fn quantized_rows_are_read_sixteen_bytes_at_a_time() {
    for (name, weights) in [
        ("matvec_q4_wide", 1),
        ("matvec_geglu_q4_wide", 1),
        ("matvec_q8_wide", 2),
    ] {
        let (loads, of) = loads_of(name);
        let wide = of(16);
        // Eight of x, and the weights; what is smaller is a scale, or of what follows the product.
        assert!(wide >= 8 + weights, "{name}: {loads:?}");
        let narrow = loads.iter().filter(|bytes| **bytes < 16).count();
        assert!(narrow <= 3, "{name}: {loads:?}");
    }
    // What GPUs get unless they are faster with another: x, by a function that is called four times, and of
    // weights what an invocation multiplies with that, 8 bytes of q4 or 16 of q8, beside what its neighbours read.
    for (name, weights) in [
        ("matvec_fours_q4_wide", 8),
        ("matvec_geglu_fours_q4_wide", 8),
        ("matvec_fours_q8_wide", 16),
    ] {
        let (loads, of) = loads_of(name);
        let wide = if weights == 16 { 2 } else { 1 };
        assert!(of(16) >= wide && of(weights) >= 1, "{name}: {loads:?}");
        // A scale, a bias, and what y held.
        assert!(loads.len() - of(16) - of(8) <= 7, "{name}: {loads:?}");
    }
    // With the norm inside, a row is read where its branch, and both their scales, are; and the branch once more,
    // for its squares.
    for name in [
        "matvec_fours_q4_wide_norms",
        "matvec_geglu_fours_q4_wide_norms",
    ] {
        let (loads, of) = loads_of(name);
        assert!(of(16) >= 4 && of(8) >= 1, "{name}: {loads:?}");
        assert!(loads.len() - of(16) - of(8) <= 7, "{name}: {loads:?}");
    }
    // Of bytes the row is one load for 16 of them, and serves four rows of weights, each of which has a scale
    // of its own.
    for (name, x) in [
        ("matvec_fours_q4_wide_bytes", 2),
        ("matvec_fours_q8_wide_bytes", 1),
        ("matvec_geglu_fours_q4_wide_bytes_packs", 2),
    ] {
        let (loads, of) = loads_of(name);
        let wide = of(16);
        assert!(wide > x, "{name}: {loads:?}");
        let narrow = loads.iter().filter(|bytes| **bytes < 16).count();
        // Four scales and a step; a bias, and what y held.
        assert!(narrow <= 7, "{name}: {loads:?}");
    }
    // What is told apart: a block at a time, its weights come in words of four bytes.
    let (loads, of) = loads_of("matvec_q4");
    assert!(of(16) < 8, "{loads:?}");
}

/// Of many rows, and of queries, keys and values: four numbers a load, which are 16 bytes of f32 and 8 of
/// what a cache keeps in 16 bits. What is smaller is a scale, a span, packed weights in words.
#[test]
fn rows_keys_and_values_are_read_four_numbers_at_a_time() {
    for (name, of_16, of_8) in [
        ("matmul_tiled_f32", 10, 0),
        ("matmul_tiled_bf16", 9, 0),
        ("matmul_tiled_q8", 8, 1),
        ("matmul_tiled_q4", 8, 0),
        ("matmul_dots_q4", 8, 0),
        ("matmul_q4", 16, 0),
        ("attention_sixteens", 4, 0),
        ("attention_sixteens_kv16", 2, 2),
        ("attention_kv16", 4, 2),
        ("decode_attention", 2, 0),
        ("decode_attention_kv16", 0, 2),
        ("merge_attention", 4, 0),
    ] {
        let (loads, of) = loads_of(name);
        assert!(of(16) >= of_16 && of(8) >= of_8, "{name}: {loads:?}");
    }
}

#[test]
fn indices_are_clamped_only_where_they_are_checked() {
    for name in [
        "matmul_tiled_q4",
        "matvec_q4_wide",
        "matvec_fours_q4_wide",
        "matvec_fours_q4_wide_norms",
        "attention_sixteens_kv16",
        "decode_attention_kv16",
        "attention_kv16",
    ] {
        let counts = [BoundsCheckPolicy::Unchecked, BoundsCheckPolicy::Restrict]
            .map(|policy| clamps(&instructions(&words(shader(name), policy))));
        assert!(counts[0] < counts[1], "{name}: {counts:?}");
        // What is left are the kernel's own, of which some may be of floats.
        let own = shader(name).source.matches("min(").count();
        assert!(counts[0] <= own, "{name}: {counts:?} of {own}");
    }
}
