//! Kernels that are compiled before they are needed.

use paligemma_checkpoint::Precision;
use paligemma_gpu::{Attention, CachePrecision, Gpu, GpuOptions, Heads, Linear, Needed};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::{open, upload};

/// What is compiled ahead is what the browser accepts, each kernel once, and one that was compiled ahead
/// computes.
#[wasm_bindgen_test]
async fn kernels_are_compiled_ahead() {
    let plain = open().await;
    let with_all = Gpu::open(&GpuOptions::default()).await.unwrap();
    for (gpu, variants) in [
        (&plain, "registers lanes=4"),
        (&with_all, "half lanes=4 subgroups"),
        (&with_all, "tiled fours=131072 bytes"),
        (&with_all, "tiled fours=131072 norms"),
    ] {
        gpu.set_variants(variants.parse().unwrap());
        let q4 = Precision::Q4 { group: 32 };
        let w = gpu.matrix("weights", 128, 64, q4).unwrap();
        let [row, scale, normed] = [(); 3].map(|()| gpu.tensor("row", 1, 64).unwrap());
        let [rows, products] = [64, 128].map(|columns| gpu.tensor("rows", 40, columns).unwrap());
        let y = gpu.tensor("product", 1, 128).unwrap();
        let gated = gpu.tensor("gated", 1, 64).unwrap();
        let cache = gpu.kv_cache(1, 64, 32, CachePrecision::F16).unwrap();
        let span = gpu.indices("span", 2).unwrap();
        let attended = gpu.tensor("attended", 1, 64).unwrap();
        let layout = Heads {
            heads: 2,
            kv_heads: 1,
            head_dim: 32,
            rotary: None,
        };
        let how = Attention {
            heads: 2,
            scale: 1.0,
            soft_cap: Some(50.0),
            window: None,
        };
        let recorded = || {
            let mut r = gpu.recorder();
            r.embed(&span, &w, 1.0, &row);
            r.linear(&rows, &w, Linear::default(), &products);
            r.rms_norm(&row, &scale, 1e-6, false, &normed);
            r.linear(&normed, &w, Linear::default(), &y);
            r.linear_geglu(&normed, &w, &gated);
            r.decode_attention(&y, layout, &cache, &span, how, &attended);
            r
        };
        let mut needed = Needed::default();
        for replayed in [false, true] {
            needed.add(recorded(), replayed).unwrap();
        }
        let [asked, ready] = gpu.prepare(needed).await;
        // Each once: six or more were recorded twice. Where keys are shared out, their parts are merged.
        assert!((6..10).contains(&asked), "{variants}: {asked}");
        assert_eq!(asked, ready, "{variants}");
    }
    let x = upload::tensor(&plain, 8, &[1.0; 8]);
    let y = upload::tensor(&plain, 8, &[2.0; 8]);
    let add = || {
        let mut r = plain.recorder();
        r.add(&x, &y);
        r
    };
    let mut needed = Needed::default();
    needed.add(add(), false).unwrap();
    assert_eq!(plain.prepare(needed).await, [1, 1]);
    plain.submit(&add().finish().unwrap());
    assert_eq!(plain.read_tensor(&y).await.unwrap(), [3.0; 8]);
    // What cannot be recorded is told, and nothing of it prepared.
    let mut r = plain.recorder();
    r.add(&x, &upload::tensor(&plain, 4, &[1.0; 4]));
    assert!(Needed::default().add(r, false).is_err());
}
