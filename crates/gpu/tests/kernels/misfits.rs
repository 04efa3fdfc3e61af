//! Every function of the recorder refuses shapes that do not fit, and says which kernel.

use paligemma_checkpoint::{Packed, Precision};
use paligemma_gpu::{
    Attention, CachePrecision, Conv, Gpu, GpuError, Heads, Linear, Recorder, Tensor,
};

use super::device::open;

/// The error names the kernel (`matmul` stands for its three storages).
#[track_caller]
pub(crate) fn refused(gpu: &Gpu, kernel: &str, record: impl FnOnce(&mut Recorder)) {
    let mut recorder = gpu.recorder();
    record(&mut recorder);
    match recorder.finish() {
        Err(GpuError::Shape { kernel: named, .. }) => assert!(named.starts_with(kernel), "{named}"),
        Err(error) => panic!("{kernel}: {error}"),
        Ok(_) => panic!("{kernel}: a misfit was recorded"),
    }
}

fn tensor(gpu: &Gpu, rows: usize, columns: usize) -> Tensor {
    gpu.tensor("misfit", rows, columns).unwrap()
}

#[test]
fn linear() {
    let gpu = open();
    let t = |rows, columns| tensor(&gpu, rows, columns);
    let w = gpu.matrix("w", 6, 4, Precision::F16).unwrap();
    for (x, y) in [
        (t(2, 5), t(2, 6)),
        (t(2, 4), t(2, 4)),
        (t(2, 4), t(3, 6)),
        (t(1, 4), t(2, 6)),
    ] {
        refused(&gpu, "matmul", |r| r.linear(&x, &w, Linear::default(), &y));
    }
}

#[test]
fn embed() {
    let gpu = open();
    let w = gpu.matrix("w", 6, 4, Precision::BF16).unwrap();
    let ids = gpu.indices("ids", 2).unwrap();
    for y in [tensor(&gpu, 2, 5), tensor(&gpu, 3, 4)] {
        refused(&gpu, "embed", |r| r.embed(&ids, &w, 1.0, &y));
    }
}

#[test]
fn scatter_rows() {
    let gpu = open();
    let positions = gpu.indices("positions", 2).unwrap();
    let (x, long) = (tensor(&gpu, 2, 4), tensor(&gpu, 3, 4));
    let wide = tensor(&gpu, 9, 12);
    refused(&gpu, "scatter_rows", |r| {
        r.scatter_rows(&x, &positions, &wide)
    });
    refused(&gpu, "scatter_rows", |r| {
        r.scatter_rows(&long, &positions, &x)
    });
}

#[test]
fn patchify() {
    let gpu = open();
    let pixels = tensor(&gpu, 3, 64);
    for (side, patch, y) in [
        (7, 4, tensor(&gpu, 4, 48)),
        (8, 4, tensor(&gpu, 4, 47)),
        (8, 4, tensor(&gpu, 3, 48)),
        (8, 2, tensor(&gpu, 4, 48)),
        (8, 0, tensor(&gpu, 4, 48)),
    ] {
        refused(&gpu, "patchify", |r| r.patchify(&pixels, side, patch, &y));
    }
}

#[test]
fn convolutions() {
    let gpu = open();
    let t = |rows, columns| tensor(&gpu, rows, columns);
    let (x, y, grown) = (t(2 * 9, 4), t(2 * 9, 6), t(2 * 36, 6));
    let (w, bias) = (t(6 * 9, 4), t(1, 6));
    let wide = t(6 * 16, 4);
    let (short_bias, tall_bias) = (t(1, 5), t(2, 6));
    let (broad, narrow) = (t(6 * 9, 5), t(6 * 16, 3));
    let of = |weight, bias, kernel| Conv {
        weight,
        bias,
        kernel,
        relu: false,
        accumulate: false,
    };
    for (side, conv, y) in [
        (2, of(&w, &bias, 3), &y),
        (0, of(&w, &bias, 3), &y),
        (3, of(&w, &bias, 1), &y),
        (3, of(&wide, &bias, 4), &y),
        (3, of(&w, &short_bias, 3), &y),
        (3, of(&w, &tall_bias, 3), &y),
        (3, of(&broad, &bias, 3), &y),
        (3, of(&w, &bias, 3), &grown),
    ] {
        refused(&gpu, "conv", |r| r.conv(&x, side, conv, y));
    }
    for (side, conv, y) in [
        (3, of(&w, &bias, 3), &grown),
        (3, of(&wide, &bias, 4), &y),
        (4, of(&wide, &bias, 4), &grown),
        (3, of(&narrow, &bias, 4), &grown),
    ] {
        refused(&gpu, "conv_transposed", |r| {
            r.conv_transposed(&x, side, conv, y)
        });
    }
}

#[test]
fn attention_weights() {
    let gpu = open();
    let cache = gpu.kv_cache(2, 9, 8, CachePrecision::F32).unwrap();
    let q = gpu.queries(4, 5, 8).unwrap();
    let span = gpu.indices("span", 2).unwrap();
    let how = |heads| Attention {
        heads,
        scale: 1.0,
        soft_cap: None,
        window: None,
    };
    for (heads, first, y) in [
        (4, 0, tensor(&gpu, 4 * 5, 10)),
        (4, 1, tensor(&gpu, 4 * 5, 9)),
        (4, 0, tensor(&gpu, 4 * 5 + 1, 9)),
        (3, 0, tensor(&gpu, 3, 9)),
        (0, 0, tensor(&gpu, 5, 9)),
    ] {
        refused(&gpu, "attention_weights", |r| {
            r.attention_weights(&q, &cache, &span, how(heads), first, &y);
        });
    }
}

#[test]
fn cross_entropy() {
    let gpu = open();
    let (x, targets) = (tensor(&gpu, 3, 7), gpu.indices("targets", 3).unwrap());
    for (x, y) in [
        (&x, tensor(&gpu, 1, 2)),
        (&x, tensor(&gpu, 3, 1)),
        (&tensor(&gpu, 4, 7), tensor(&gpu, 1, 4)),
    ] {
        refused(&gpu, "cross_entropy", |r| r.cross_entropy(x, &targets, &y));
    }
}

#[test]
fn rows_and_caches() {
    let gpu = open();
    let (x, y) = (tensor(&gpu, 3, 7), tensor(&gpu, 2, 7));
    refused(&gpu, "gather_rows", |r| r.gather_rows(&x, &[0], &y));
    refused(&gpu, "copy_rows", |r| r.gather_rows(&x, &[0, 3], &y));
    let wide = tensor(&gpu, 1, 9);
    refused(&gpu, "copy_rows", |r| r.gather_rows(&x, &[0], &wide));
    let (small, other) = (
        gpu.kv_cache(2, 4, 8, CachePrecision::F32).unwrap(),
        gpu.kv_cache(1, 9, 8, CachePrecision::F32).unwrap(),
    );
    refused(&gpu, "copy_cache", |r| r.copy_cache(&small, 2, &other));
    refused(&gpu, "copy_cache", |r| r.copy_cache(&small, 5, &small));
}

#[test]
fn elementwise() {
    let gpu = open();
    let x = tensor(&gpu, 2, 4);
    let stretched = gpu.tensor_with_stride("stretched", 2, 4, 16).unwrap();
    for y in [tensor(&gpu, 3, 4), tensor(&gpu, 2, 5), stretched] {
        refused(&gpu, "add", |r| r.add(&x, &y));
        refused(&gpu, "geglu", |r| r.geglu(&x, &y));
    }
    let y = tensor(&gpu, 3, 2);
    refused(&gpu, "geglu", |r| r.geglu(&x, &y));
}

#[test]
fn norms() {
    let gpu = open();
    let t = |rows, columns| tensor(&gpu, rows, columns);
    for (x, scale, y) in [
        (t(2, 4), t(1, 5), t(2, 4)),
        (t(2, 4), t(1, 4), t(2, 5)),
        (t(2, 4), t(1, 4), t(1, 4)),
    ] {
        refused(&gpu, "rms_norm", |r| {
            r.rms_norm(&x, &scale, 1e-6, false, &y)
        });
        refused(&gpu, "layer_norm", |r| {
            r.layer_norm(&x, &scale, &scale, 1e-6, &y)
        });
        let (hidden, right) = (t(2, 4), t(1, 4));
        refused(&gpu, "rms_norm_twice", |r| {
            r.rms_norm_twice(&x, &scale, &hidden, &right, 1e-6, &y)
        });
        refused(&gpu, "rms_norm_twice", |r| {
            r.rms_norm_twice(&x, &right, &y, &scale, 1e-6, &hidden)
        });
    }
    let (x, scale, shift) = (t(2, 4), t(1, 4), t(1, 3));
    refused(&gpu, "layer_norm", |r| {
        r.layer_norm(&x, &scale, &shift, 1e-6, &x)
    });
}

#[test]
fn argmax() {
    let gpu = open();
    let (token, span) = (gpu.indices("t", 1).unwrap(), gpu.indices("s", 2).unwrap());
    for (logits, allowed) in [
        (tensor(&gpu, 2, 9), 9),
        (tensor(&gpu, 1, 9), 0),
        (tensor(&gpu, 1, 9), 10),
    ] {
        refused(&gpu, "argmax", |r| {
            r.argmax(&logits, allowed, &token, &span, 1)
        });
        let parts = gpu.stretches(9).unwrap();
        refused(&gpu, "log_sum_exp_best", |r| {
            r.argmax_and_log_sum_exp(&logits, None, &parts, allowed, (&token, &span, 1))
        });
    }
}

#[test]
fn split_heads() {
    let gpu = open();
    let cache = gpu.kv_cache(2, 5, 6, CachePrecision::F32).unwrap();
    let q = gpu.queries(4, 3, 6).unwrap();
    let (span, short) = (gpu.indices("s", 2).unwrap(), gpu.indices("s", 1).unwrap());
    let x = tensor(&gpu, 3, 48);
    let how = Heads {
        heads: 4,
        kv_heads: 2,
        head_dim: 6,
        rotary: None,
    };
    let name = "split_heads";
    let mut right = gpu.recorder();
    right.split_heads(&x, 0, how, &span, &q, &cache);
    assert!(right.finish().is_ok());

    let narrow = tensor(&gpu, 3, 47);
    refused(&gpu, name, |r| {
        r.split_heads(&narrow, 0, how, &span, &q, &cache)
    });
    refused(&gpu, name, |r| r.split_heads(&x, 1, how, &span, &q, &cache));
    refused(&gpu, name, |r| {
        r.split_heads(&x, 0, how, &short, &q, &cache)
    });
    for q in [
        gpu.queries(4, 2, 6).unwrap(),
        gpu.queries(4, 3, 5).unwrap(),
        gpu.queries(5, 3, 6).unwrap(),
    ] {
        refused(&gpu, name, |r| r.split_heads(&x, 0, how, &span, &q, &cache));
    }
    for cache in [
        gpu.kv_cache(1, 5, 6, CachePrecision::F32).unwrap(),
        gpu.kv_cache(2, 5, 7, CachePrecision::F32).unwrap(),
        gpu.kv_cache(2, 2, 6, CachePrecision::F32).unwrap(),
    ] {
        refused(&gpu, name, |r| r.split_heads(&x, 0, how, &span, &q, &cache));
    }
}

#[test]
fn decode_attention() {
    let gpu = open();
    let cache = gpu.kv_cache(2, 5, 6, CachePrecision::F32).unwrap();
    let (span, short) = (gpu.indices("s", 2).unwrap(), gpu.indices("s", 1).unwrap());
    let (x, y) = (tensor(&gpu, 1, 48), tensor(&gpu, 1, 24));
    let layout = Heads {
        heads: 4,
        kv_heads: 2,
        head_dim: 6,
        rotary: None,
    };
    let how = Attention {
        heads: 4,
        scale: 1.0,
        soft_cap: None,
        window: None,
    };
    let mut right = gpu.recorder();
    right.decode_attention(&x, layout, &cache, &span, how, &y);
    assert!(right.finish().is_ok());

    let refused = |record: &dyn Fn(&mut paligemma_gpu::Recorder)| {
        refused(&gpu, "decode_attention", |r| record(r));
    };
    let (two, narrow) = (tensor(&gpu, 2, 48), tensor(&gpu, 1, 23));
    let table = gpu.rotary_table(5, 6, 10_000.0).unwrap();
    let turned = Heads {
        rotary: Some((&table, 1)),
        ..layout
    };
    refused(&|r| r.decode_attention(&two, layout, &cache, &span, how, &y));
    refused(&|r| r.decode_attention(&x, layout, &cache, &span, how, &narrow));
    refused(&|r| r.decode_attention(&x, layout, &cache, &short, how, &y));
    refused(&|r| r.decode_attention(&x, turned, &cache, &span, how, &y));
    for parts in [0, 65] {
        refused(&|r| r.decode_attention_in(parts, &x, layout, &cache, &span, how, &y));
    }
    let fewer = Attention { heads: 2, ..how };
    refused(&|r| r.decode_attention(&x, layout, &cache, &span, fewer, &y));
    let other = gpu.kv_cache(1, 5, 6, CachePrecision::F32).unwrap();
    refused(&|r| r.decode_attention(&x, layout, &other, &span, how, &y));
}

#[test]
fn linear_geglu() {
    let gpu = open();
    let w = gpu.matrix("w", 6, 8, Precision::F16).unwrap();
    let (x, y) = (tensor(&gpu, 1, 8), tensor(&gpu, 1, 3));
    let mut right = gpu.recorder();
    right.linear_geglu(&x, &w, &y);
    assert!(right.finish().is_ok());
    let odd = gpu.matrix("w", 7, 8, Precision::F16).unwrap();
    let (two, both) = (tensor(&gpu, 2, 8), tensor(&gpu, 1, 6));
    for (x, w, y) in [(&x, &odd, &y), (&two, &w, &y), (&x, &w, &both)] {
        refused(&gpu, "matvec_geglu_f16", |r| r.linear_geglu(x, w, y));
    }
    let small = super::device::open_with(Some(256));
    let split = small.matrix("w", 32, 8, Precision::F16).unwrap();
    assert_eq!(split.shard_count(), 2);
    let (x, y) = (tensor(&small, 1, 8), tensor(&small, 1, 16));
    refused(&small, "matvec_geglu_f16", |r| {
        r.linear_geglu(&x, &split, &y)
    });
}

#[test]
fn attention() {
    let gpu = open();
    let cache = gpu.kv_cache(2, 5, 6, CachePrecision::F32).unwrap();
    let q = gpu.queries(4, 3, 6).unwrap();
    let (span, short) = (gpu.indices("s", 2).unwrap(), gpu.indices("s", 1).unwrap());
    let y = tensor(&gpu, 3, 24);
    let how = Attention {
        heads: 4,
        scale: 1.0,
        soft_cap: None,
        window: None,
    };
    let name = "attention";
    let mut right = gpu.recorder();
    right.attention(&q, &cache, &span, how, &y);
    assert!(right.finish().is_ok());

    refused(&gpu, name, |r| r.attention(&q, &cache, &short, how, &y));
    for y in [tensor(&gpu, 2, 24), tensor(&gpu, 3, 23)] {
        refused(&gpu, name, |r| r.attention(&q, &cache, &span, how, &y));
    }
    for cache in [
        gpu.kv_cache(3, 5, 6, CachePrecision::F32).unwrap(),
        gpu.kv_cache(2, 5, 5, CachePrecision::F32).unwrap(),
        gpu.kv_cache(2, 5, 7, CachePrecision::F32).unwrap(),
    ] {
        refused(&gpu, name, |r| r.attention(&q, &cache, &span, how, &y));
    }
    let no_heads = Attention { heads: 0, ..how };
    refused(&gpu, name, |r| r.attention(&q, &cache, &span, no_heads, &y));
    let wide = gpu.kv_cache(1, 2, 257, CachePrecision::F32).unwrap();
    let wide_q = gpu.queries(1, 1, 257).unwrap();
    let wide_y = tensor(&gpu, 1, 257);
    let one = Attention { heads: 1, ..how };
    refused(&gpu, name, |r| {
        r.attention(&wide_q, &wide, &span, one, &wide_y)
    });
}

#[test]
fn copies() {
    let gpu = open();
    let (x, row) = (tensor(&gpu, 3, 4), tensor(&gpu, 1, 4));
    refused(&gpu, "copy", |r| r.copy(&x, &row));
    let reshaped = gpu.tensor_with_stride("reshaped", 1, 24, 24).unwrap();
    refused(&gpu, "copy", |r| r.copy(&x, &reshaped));
    refused(&gpu, "copy_row", |r| r.copy_row(&x, 3, &row));
    refused(&gpu, "copy_row", |r| r.copy_row(&x, 0, &x));
    refused(&gpu, "copy_row", |r| r.copy_row(&x, 0, &reshaped));
}

/// The first misfit is the one that is told; nothing after it hides it.
#[test]
fn the_first_error_is_kept() {
    let gpu = open();
    let (x, y, z) = (tensor(&gpu, 1, 4), tensor(&gpu, 2, 4), tensor(&gpu, 1, 4));
    refused(&gpu, "geglu", |r| {
        r.add(&x, &z);
        r.geglu(&x, &y);
        r.add(&x, &y);
    });
}

#[test]
fn views_and_uploads() {
    let gpu = open();
    let x = tensor(&gpu, 20, 4);
    for (start, end) in [(0, 21), (4, 8), (16, 8), (24, 24)] {
        let view = x.slice_rows(start..end);
        assert!(
            matches!(view, Err(GpuError::Shape { .. })),
            "{start}..{end}"
        );
    }
    for (first, count) in [(0, 5), (20, 4), (19, 8), (0, 84)] {
        let written = gpu.write(&x, first, &vec![0.0; count]);
        assert!(
            matches!(written, Err(GpuError::Shape { .. })),
            "{first} {count}"
        );
    }
    let view = x.slice_rows(8..16).unwrap();
    assert!(gpu.write(&view, 8, &[0.0; 4]).is_err());

    let row = tensor(&gpu, 1, 9);
    for (start, end) in [(0, 10), (5, 4), (10, 10)] {
        assert!(row.slice_columns(start..end).is_err(), "{start}..{end}");
    }
    assert!(x.slice_columns(0..2).is_err(), "of several rows");

    let indices = gpu.indices("indices", 2).unwrap();
    assert!(gpu.write_indices(&indices, &[1, 2, 3]).is_err());

    let w = gpu.matrix("w", 6, 3, Precision::F16).unwrap();
    // Rows of three halves are padded to eight.
    let packed = |weights: usize, scales: usize| Packed {
        weights: vec![0; weights],
        scales: vec![0; scales],
    };
    for (rows, bytes) in [(0..6, 95), (0..6, 97), (5..7, 32), (3..3, 16), (7..7, 0)] {
        let written = gpu.write_matrix(&w, rows.clone(), &packed(bytes, 0));
        assert!(
            matches!(written, Err(GpuError::Shape { .. })),
            "{rows:?} {bytes}"
        );
    }
    assert!(gpu.write_matrix(&w, 2..2, &packed(0, 0)).is_ok());
    assert!(gpu.write_matrix(&w, 0..1, &packed(16, 4)).is_err());

    let quantized = gpu.matrix("w", 6, 3, Precision::Q8 { group: 64 }).unwrap();
    assert!(gpu.write_matrix(&quantized, 0..1, &packed(8, 4)).is_ok());
    assert!(gpu.write_matrix(&quantized, 0..1, &packed(8, 0)).is_err());
    for group in [0, 4, 24] {
        let odd = gpu.matrix("w", 6, 3, Precision::Q4 { group });
        assert!(matches!(odd, Err(GpuError::Shape { .. })), "{group}");
    }
}

/// WebGPU would refuse it only after submission.
#[test]
fn an_operand_that_is_read_and_written() {
    let gpu = open();
    let x = tensor(&gpu, 16, 8);
    refused(&gpu, "add", |r| r.add(&x, &x));
    let (top, bottom) = (x.slice_rows(0..8).unwrap(), x.slice_rows(8..16).unwrap());
    refused(&gpu, "add", |r| r.add(&top, &bottom));
}

/// Rows of 20 floats begin at a multiple of 256 bytes only every 16 rows.
#[test]
fn a_view_that_no_binding_can_begin_at() {
    let gpu = open();
    let x = gpu.tensor_with_stride("x", 32, 20, 20).unwrap();
    assert!(x.slice_rows(16..32).is_ok());
    assert!(matches!(x.slice_rows(8..16), Err(GpuError::Shape { .. })));
}

/// A workgroup a row: more rows than a dispatch may have would need two dimensions.
#[test]
fn more_rows_than_a_dispatch() {
    let gpu = open();
    gpu.set_serial(false); // a workgroup a row
    let (x, y, scale) = (
        tensor(&gpu, 65_536, 8),
        tensor(&gpu, 65_536, 8),
        tensor(&gpu, 1, 8),
    );
    refused(&gpu, "rms_norm", |r| {
        r.rms_norm(&x, &scale, 1e-6, false, &y)
    });
}
