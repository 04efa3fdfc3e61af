//! Every kernel against its plain Rust twin, on whatever adapter there is, opened with WebGPU's
//! default limits, and for the kernels that need them with subgroups and 16-bit arithmetic; and what
//! the recorder promises around them.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

#[path = "../support/mod.rs"]
mod support;
#[path = "../twins/mod.rs"]
mod twins;

mod argmax;
mod attention;
mod bytes;
mod conv;
mod cooperative;
mod decode_attention;
mod device;
mod elementwise;
mod geglu;
mod linear;
mod measure;
mod misfits;
mod normed;
mod norms;
mod picking;
mod processors;
mod profile;
mod programs;
mod replay;
mod rounded;
mod rows;
mod shaders;
mod shards;
mod spirv;
mod split_heads;
mod tuning;
mod weights;

use paligemma_checkpoint::Precision;
use paligemma_gpu::CachePrecision;

const Q8: Precision = Precision::Q8 { group: 16 };
const Q4: Precision = Precision::Q4 { group: 32 };
const INT4: Precision = Precision::Int4 { group: 8 };
// Groups that can be read 32 inputs at a time.
const WIDE_Q8: Precision = Precision::Q8 { group: 32 };
const WIDE_Q4: Precision = Precision::Q4 { group: 32 };
const WIDE_INT4: Precision = Precision::Int4 { group: 64 };

/// One test for each shader, named as it is, and the list of these names.
macro_rules! kernels {
    ($($name:ident => $check:expr;)*) => {
        mod twin {
            use super::*;
            $(
                #[test]
                fn $name() {
                    $check
                }
            )*
        }

        const TESTED: &[&str] = &[$(stringify!($name)),*];
    };
}

kernels! {
    add => elementwise::add();
    argmax => argmax::stages(false);
    argmax_parts => argmax::stretches(false);
    argmax_parts_serial => argmax::stretches(true);
    argmax_serial => argmax::stages(true);
    attention => attention::attention(CachePrecision::F32, true);
    attention_kv16 => attention::attention(CachePrecision::F16, true);
    attention_kv8 => attention::attention(CachePrecision::Int8, true);
    attention_sixteens => attention::attention(CachePrecision::F32, false);
    attention_sixteens_kv16 => attention::attention(CachePrecision::F16, false);
    attention_sixteens_kv8 => attention::attention(CachePrecision::Int8, false);
    attention_weights => weights::attention_weights(CachePrecision::F32);
    attention_weights_kv16 => weights::attention_weights(CachePrecision::F16);
    attention_weights_kv8 => weights::attention_weights(CachePrecision::Int8);
    conv => conv::conv();
    conv_transposed => conv::conv_transposed();
    cross_entropy => weights::cross_entropy();
    decode_attention => decode_attention::decode_attention(CachePrecision::F32, false);
    decode_attention_kv16 => decode_attention::decode_attention(CachePrecision::F16, false);
    decode_attention_kv8 => decode_attention::decode_attention(CachePrecision::Int8, false);
    decode_attention_serial => decode_attention::decode_attention(CachePrecision::F32, true);
    decode_attention_serial_kv16 => decode_attention::decode_attention(CachePrecision::F16, true);
    decode_attention_serial_kv8 => decode_attention::decode_attention(CachePrecision::Int8, true);
    digits => picking::levels();
    digits_parts => picking::thresholds();
    draw => picking::draws();
    draw_parts => picking::drawn_from_all_stretches();
    embed_bf16 => rows::embed(Precision::BF16);
    embed_f16 => rows::embed(Precision::F16);
    embed_f32 => rows::embed(Precision::F32);
    embed_int4 => rows::embed(INT4);
    embed_q4 => rows::embed(Q4);
    embed_q8 => rows::embed(Q8);
    fill => measure::fill();
    fma_peak => measure::fma_peak();
    geglu => elementwise::geglu();
    halve_rows => cooperative::halve_rows();
    layer_norm => norms::layer_norm(false);
    layer_norm_serial => norms::layer_norm(true);
    log_probs => picking::log_probs(false);
    log_probs_serial => picking::log_probs(true);
    log_sum_exp => picking::log_sum_exp(false);
    log_sum_exp_best => argmax::beside_sums(false);
    log_sum_exp_best_serial => argmax::beside_sums(true);
    log_sum_exp_serial => picking::log_sum_exp(true);
    matmul_bf16 => linear::matmul(Precision::BF16);
    matmul_cooperative_q4 => cooperative::matmul(8, WIDE_Q4, Precision::Q4 { group: 128 });
    matmul_cooperative_q4_sixteen => cooperative::matmul(16, WIDE_Q4, Precision::Q4 { group: 128 });
    matmul_cooperative_q8 => cooperative::matmul(8, WIDE_Q8, Precision::Q8 { group: 64 });
    matmul_cooperative_q8_sixteen => cooperative::matmul(16, WIDE_Q8, Precision::Q8 { group: 64 });
    matmul_dots_q4 => rounded::matmul_dots(WIDE_Q4, Precision::Q4 { group: 128 });
    matmul_dots_q8 => rounded::matmul_dots(WIDE_Q8, Precision::Q8 { group: 64 });
    matmul_f16 => linear::matmul(Precision::F16);
    matmul_f32 => linear::matmul(Precision::F32);
    matmul_half_q4 => rounded::matmul_half(WIDE_Q4, Precision::Q4 { group: 128 });
    matmul_half_q8 => rounded::matmul_half(WIDE_Q8, Precision::Q8 { group: 64 });
    matmul_int4 => linear::matmul(INT4);
    matmul_q4 => linear::matmul(Q4);
    matmul_q8 => linear::matmul(Q8);
    matmul_tiled_bf16 => linear::matmul_tiled(Precision::BF16);
    matmul_tiled_f16 => linear::matmul_tiled(Precision::F16);
    matmul_tiled_f32 => linear::matmul_tiled(Precision::F32);
    matmul_tiled_int4 => linear::matmul_tiled(INT4);
    matmul_tiled_q4 => linear::matmul_tiled(Q4);
    matmul_tiled_q8 => linear::matmul_tiled(Q8);
    matvec_bf16 => linear::matvec(Precision::BF16);
    matvec_f16 => linear::matvec(Precision::F16);
    matvec_f32 => linear::matvec(Precision::F32);
    matvec_fours_bf16 => linear::matvec_fours(Precision::BF16);
    matvec_fours_bf16_norms => normed::linear("matvec_fours_bf16_norms", Precision::BF16, 8);
    matvec_fours_f16 => linear::matvec_fours(Precision::F16);
    matvec_fours_f16_norms => normed::linear("matvec_fours_f16_norms", Precision::F16, 8);
    matvec_fours_f32 => linear::matvec_fours(Precision::F32);
    matvec_fours_f32_norms => normed::linear("matvec_fours_f32_norms", Precision::F32, 8);
    matvec_fours_int4 => linear::matvec_fours(INT4);
    matvec_fours_int4_wide => linear::matvec_fours_wide(WIDE_INT4);
    matvec_fours_int4_wide_norms => normed::linear("matvec_fours_int4_wide_norms", WIDE_INT4, 32);
    matvec_fours_q4 => linear::matvec_fours(Q4);
    matvec_fours_q4_wide => linear::matvec_fours_wide(WIDE_Q4);
    matvec_fours_q4_wide_bytes => bytes::matvec([WIDE_Q4, Precision::Q4 { group: 64 }, Precision::Q4 { group: 128 }]);
    matvec_fours_q4_wide_norms => normed::linear("matvec_fours_q4_wide_norms", WIDE_Q4, 32);
    matvec_fours_q8 => linear::matvec_fours(Q8);
    matvec_fours_q8_wide => linear::matvec_fours_wide(WIDE_Q8);
    matvec_fours_q8_wide_bytes => bytes::matvec([WIDE_Q8, Precision::Q8 { group: 64 }, Precision::Q8 { group: 128 }]);
    matvec_fours_q8_wide_norms => normed::linear("matvec_fours_q8_wide_norms", WIDE_Q8, 32);
    matvec_geglu_bf16 => geglu::linear_geglu(Precision::BF16, 8);
    matvec_geglu_f16 => geglu::linear_geglu(Precision::F16, 8);
    matvec_geglu_f32 => geglu::linear_geglu(Precision::F32, 8);
    matvec_geglu_fours_bf16 => geglu::linear_geglu_fours(Precision::BF16, 8);
    matvec_geglu_fours_bf16_norms => normed::geglu("matvec_geglu_fours_bf16_norms", Precision::BF16, 8);
    matvec_geglu_fours_f16 => geglu::linear_geglu_fours(Precision::F16, 8);
    matvec_geglu_fours_f16_norms => normed::geglu("matvec_geglu_fours_f16_norms", Precision::F16, 8);
    matvec_geglu_fours_f32 => geglu::linear_geglu_fours(Precision::F32, 8);
    matvec_geglu_fours_f32_norms => normed::geglu("matvec_geglu_fours_f32_norms", Precision::F32, 8);
    matvec_geglu_fours_int4 => geglu::linear_geglu_fours(INT4, 8);
    matvec_geglu_fours_int4_wide => geglu::linear_geglu_fours(WIDE_INT4, 32);
    matvec_geglu_fours_int4_wide_norms => normed::geglu("matvec_geglu_fours_int4_wide_norms", WIDE_INT4, 32);
    matvec_geglu_fours_q4 => geglu::linear_geglu_fours(Q4, 8);
    matvec_geglu_fours_q4_wide => geglu::linear_geglu_fours(WIDE_Q4, 32);
    matvec_geglu_fours_q4_wide_bytes => bytes::geglu(WIDE_Q4);
    matvec_geglu_fours_q4_wide_bytes_packs => bytes::geglu_packs([WIDE_Q4, Precision::Q4 { group: 64 }]);
    matvec_geglu_fours_q4_wide_norms => normed::geglu("matvec_geglu_fours_q4_wide_norms", WIDE_Q4, 32);
    matvec_geglu_fours_q8 => geglu::linear_geglu_fours(Q8, 8);
    matvec_geglu_fours_q8_wide => geglu::linear_geglu_fours(WIDE_Q8, 32);
    matvec_geglu_fours_q8_wide_bytes => bytes::geglu(WIDE_Q8);
    matvec_geglu_fours_q8_wide_bytes_packs => bytes::geglu_packs([WIDE_Q8, Precision::Q8 { group: 64 }]);
    matvec_geglu_fours_q8_wide_norms => normed::geglu("matvec_geglu_fours_q8_wide_norms", WIDE_Q8, 32);
    matvec_geglu_int4 => geglu::linear_geglu(INT4, 8);
    matvec_geglu_int4_wide => geglu::linear_geglu(WIDE_INT4, 32);
    matvec_geglu_int4_wide_subgroups => geglu::linear_geglu_by_subgroups(WIDE_INT4, 32);
    matvec_geglu_q4 => geglu::linear_geglu(Q4, 8);
    matvec_geglu_q4_wide => geglu::linear_geglu(WIDE_Q4, 32);
    matvec_geglu_q4_wide_subgroups => geglu::linear_geglu_by_subgroups(WIDE_Q4, 32);
    matvec_geglu_q8 => geglu::linear_geglu(Q8, 8);
    matvec_geglu_q8_wide => geglu::linear_geglu(WIDE_Q8, 32);
    matvec_geglu_q8_wide_subgroups => geglu::linear_geglu_by_subgroups(WIDE_Q8, 32);
    matvec_int4 => linear::matvec(INT4);
    matvec_int4_wide => linear::matvec_wide(WIDE_INT4);
    matvec_int4_wide_subgroups => linear::matvec_by_subgroups(WIDE_INT4);
    matvec_q4 => linear::matvec(Q4);
    matvec_q4_wide => linear::matvec_wide(WIDE_Q4);
    matvec_q4_wide_subgroups => linear::matvec_by_subgroups(WIDE_Q4);
    matvec_q8 => linear::matvec(Q8);
    matvec_q8_wide => linear::matvec_wide(WIDE_Q8);
    matvec_q8_wide_subgroups => linear::matvec_by_subgroups(WIDE_Q8);
    merge_attention => decode_attention::merge_attention();
    merge_attention_packs => decode_attention::merge_attention_packs();
    pack_row => bytes::pack_row();
    patchify => rows::patchify();
    process_logits => picking::process_logits();
    rms_norm => norms::rms_norm(false);
    rms_norm_packs => norms::rms_norm_packs();
    rms_norm_serial => norms::rms_norm(true);
    rms_norm_twice => norms::rms_norm_twice(false);
    rms_norm_twice_packs => norms::rms_norm_twice_packs();
    rms_norm_twice_serial => norms::rms_norm_twice(true);
    scatter_rows => rows::scatter_rows();
    soft_cap => elementwise::soft_cap();
    split_heads => split_heads::split_heads(CachePrecision::F32);
    split_heads_kv16 => split_heads::split_heads(CachePrecision::F16);
    split_heads_kv8 => split_heads::split_heads(CachePrecision::Int8);
    stream_copy => measure::stream_copy();
    top => picking::top();
    top_parts => picking::top_of_a_stretch();
}

#[test]
fn every_shader_has_a_twin() {
    let mut shaders: Vec<_> = paligemma_gpu::shader::ALL.iter().map(|s| s.name).collect();
    shaders.sort_unstable();
    assert_eq!(shaders, TESTED);
}
