//! Every shader through Tint, and kernels against their twins, on WebGPU in a browser.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

mod ahead;
#[path = "../support/mod.rs"]
mod support;
#[path = "../twins/mod.rs"]
mod twins;

use paligemma_checkpoint::Precision;
use paligemma_gpu::shader::{ALL, Binding, Feature};
use paligemma_gpu::{
    Attention, CachePrecision, Gpu, GpuOptions, Heads, Linear, MatmulVariant, Normed, Program,
    Recorder, Variants,
};
use support::compare::assert_agrees;
use support::random::{Rng, for_every_cache};
use support::{bounds, upload};
use twins::attention::{self, Shape};
use twins::matmul::Then;
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

#[wasm_bindgen(inline_js = r#"
const devices = {};

// A device with WebGPU's default limits and these optional features. No adapter is an error.
async function open(requiredFeatures) {
    if (!navigator.gpu) throw new Error("this browser has no WebGPU");
    const adapter = await navigator.gpu.requestAdapter();
    if (!adapter) throw new Error("WebGPU has no adapter");
    return await adapter.requestDevice({ requiredFeatures });
}

// Tint's messages, with the lines that they are about; empty if there are none. Throws what
// WebGPU says of the pipeline. `kinds` are the buffer types of the bindings 0, 1, 2, ....
export async function compile(name, code, kinds, numbers) {
    const features = code.startsWith("enable subgroups;") ? ["subgroups"] : [];
    if (code.includes("enable f16;")) {
        const adapter = await navigator.gpu.requestAdapter();
        // Without it Tint takes no such source: all that can be seen is that it gets no further.
        if (!adapter.features.has("shader-f16")) return "no shader-f16 here";
        features.push("shader-f16");
    }
    const device = devices[features] ??= await open(features);
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ label: name, code });
    const { messages } = await module.getCompilationInfo();
    const lines = code.split("\n");
    const said = messages.map(m => `${m.type}: ${m.message}: ${lines[m.lineNum - 1]}`);
    const compute = { module, entryPoint: "main" };
    try {
        const entries = kinds.map((type, i) =>
            ({ binding: numbers[i], visibility: GPUShaderStage.COMPUTE, buffer: { type } }));
        const layout = device.createPipelineLayout({
            bindGroupLayouts: [device.createBindGroupLayout({ entries })],
        });
        await device.createComputePipelineAsync({ layout, compute });
    } catch (error) {
        said.push(`pipeline: ${error.message}`);
    }
    const error = await device.popErrorScope();
    if (error) said.push(`validation: ${error.message}`);
    return said.join("\n");
}
"#)]
extern "C" {
    #[wasm_bindgen(catch)]
    async fn compile(
        name: &str,
        code: &str,
        kinds: Vec<String>,
        numbers: Vec<u32>,
    ) -> Result<JsValue, JsValue>;
}

async fn messages(name: &str, code: &str, bindings: &[(u32, Binding)]) -> String {
    let kinds = bindings
        .iter()
        .map(|(_, kind)| match kind {
            Binding::Read => "read-only-storage",
            Binding::ReadWrite => "storage",
            Binding::Uniform => "uniform",
        })
        .map(str::to_owned)
        .collect();
    let numbers = bindings.iter().map(|(number, _)| *number).collect();
    let said = compile(name, code, kinds, numbers).await;
    said.expect("WebGPU works").as_string().unwrap()
}

#[wasm_bindgen_test]
async fn tint_compiles_every_shader() {
    assert!(!ALL.is_empty());
    for shader in ALL {
        let source = shader.source_for_browsers();
        let said = messages(shader.name, &source, shader.bindings).await;
        // SwiftShader has no 16-bit arithmetic; only what needs it may be left out.
        let out = shader.needs == Some(Feature::F16) && said == "no shader-f16 here";
        assert!(said.is_empty() || out, "{}: {said}", shader.name);
    }
}

/// The test above can fail: a mistake in the source and one in the bindings are both reported.
#[wasm_bindgen_test]
async fn tint_reports_mistakes() {
    let shader = ALL[0];
    let broken = shader.source.replacen("fn main", "fn main(", 1);
    let said = messages("broken", &broken, shader.bindings).await;
    assert!(said.contains("error: "), "{said}");
    let said = messages("misbound", shader.source, &[(0, Binding::Read)]).await;
    assert!(said.contains("pipeline: "), "{said}");
}

async fn open() -> Gpu {
    let options = GpuOptions {
        baseline_limits: true,
        ..GpuOptions::default()
    };
    Gpu::open(&options).await.expect("WebGPU has an adapter")
}

fn record(gpu: &Gpu, record: impl FnOnce(&mut Recorder)) -> Program {
    let mut recorder = gpu.recorder();
    record(&mut recorder);
    recorder.finish().unwrap()
}

#[wasm_bindgen_test]
async fn products_are_their_twins() {
    products_on(&open().await).await;
}

/// wgpu does not know how to ask a browser for subgroups; it gets them all the same, and the page's
/// own method is as it was afterwards.
#[wasm_bindgen_test]
async fn products_by_subgroups_are_their_twins() {
    let before = request_device();
    let gpu = Gpu::open(&GpuOptions::default()).await.unwrap();
    assert!(js_sys::Object::is(&before, &request_device()));
    let features = &gpu.info().features;
    assert!(features.iter().any(|it| it == "subgroups"), "{features:?}");
    for matvec_lanes in [2, 4] {
        gpu.set_variants(Variants {
            subgroups: true,
            matvec_lanes,
            ..gpu.variants()
        });
        assert!(gpu.variants().subgroups && matvec_lanes <= gpu.subgroup_size());
        products_on(&gpu).await;
    }
    assert_eq!(open().await.subgroup_size(), 0);
}

fn request_device() -> JsValue {
    let get = |of: &JsValue, name: &str| js_sys::Reflect::get(of, &name.into()).unwrap();
    let class = get(&js_sys::global(), "GPUAdapter");
    get(&get(&class, "prototype"), "requestDevice")
}

async fn products_on(gpu: &Gpu) {
    assert_eq!(gpu.info().backend, "webgpu");
    let mut rng = Rng::new(1);
    let usual = gpu.variants();
    let of = |matmul| Variants { matmul, ..usual };
    let bytes = Variants {
        fours: 1 << 10,
        bytes: true,
        ..usual
    };
    for (rows, columns, outputs, variants) in [
        (1, 137, 35, usual),
        // Whole chunks of 32 inputs, read 16 bytes at a time in the precision with such groups.
        (1, 128, 35, usual),
        (1, 128, 1031, usual),
        (1, 128, 1031, bytes),
        (33, 13, 37, of(MatmulVariant::Registers)),
        (33, 13, 37, of(MatmulVariant::Tiled)),
        (33, 64, 37, of(MatmulVariant::Dots)),
    ] {
        gpu.set_variants(variants);
        for precision in upload::PRECISIONS {
            let columns = upload::columns(precision, columns);
            let mut x = rng.numbers(rows * columns, 1.0);
            if !variants.are_exact() {
                // What bytes hold, too.
                for_every_cache(&mut x, 32, 0);
            }
            let numbers = rng.numbers(outputs * columns, 1.0);
            let (w_gpu, w) = upload::matrix(gpu, outputs, columns, precision, &numbers);
            let bias = rng.numbers(outputs, 1.0);
            let before = rng.numbers(rows * outputs, 1.0);
            let x_gpu = upload::tensor(gpu, columns, &x);
            let bias_gpu = upload::tensor(gpu, outputs, &bias);
            let y = upload::tensor(gpu, outputs, &before);
            let then = Linear {
                bias: Some(&bias_gpu),
                gelu: true,
                accumulate: true,
                first_column: None,
                exact: false,
            };
            gpu.submit(&record(gpu, |r| r.linear(&x_gpu, &w_gpu, then, &y)));
            let actual = gpu.read_tensor(&y).await.unwrap();

            let then = Then {
                bias: Some(&bias),
                gelu: Some(Then::GELU),
                accumulate: Some(&before),
            };
            let dots = if rows == 1 {
                twins::matvec::matvec(&x, &w)
            } else {
                twins::matmul::matmul(&x, &w, columns)
            };
            let expected = bounds::linear(&dots, columns, outputs, then);
            assert_agrees(&format!("{rows} rows, {precision:?}"), &actual, &expected);
        }
    }
}

#[wasm_bindgen_test]
async fn products_with_their_norm_are_their_twin() {
    let gpu = open().await;
    gpu.set_variants(Variants {
        fours: 1 << 10,
        norms: true,
        ..gpu.variants()
    });
    let mut rng = Rng::new(5);
    let (columns, outputs) = (288, 35);
    let [hidden, branch, branch_scale, scale] =
        [1.0, 3.0, 1.0, 1.0].map(|of| rng.numbers(columns, of));
    let [hidden_gpu, branch_gpu, branch_scale_gpu, scale_gpu] =
        [&hidden, &branch, &branch_scale, &scale].map(|x| upload::tensor(&gpu, columns, x));
    for precision in [
        Precision::F32,
        Precision::Q8 { group: 32 },
        Precision::Q4 { group: 32 },
    ] {
        let numbers = rng.numbers(outputs * columns, 1.0);
        let (w_gpu, w) = upload::matrix(&gpu, outputs, columns, precision, &numbers);
        let sum = gpu.tensor("sum", 1, columns).unwrap();
        let y = gpu.tensor("y", 1, outputs).unwrap();
        let x = Normed {
            hidden: &hidden_gpu,
            branch: Some((&branch_gpu, &branch_scale_gpu)),
            sum: &sum,
            scale: &scale_gpu,
            eps: 1e-6,
        };
        gpu.submit(&record(&gpu, |r| r.linear_normed(x, &w_gpu, &y)));
        let added = gpu.read_tensor(&sum).await.unwrap();
        let actual = gpu.read_tensor(&y).await.unwrap();
        let twin = twins::rms_norm::rms_norm(&branch, &branch_scale, 1e-6);
        assert_agrees("sum", &added, &bounds::rms_norm(&twin, Some(&hidden)));
        let normed = twins::rms_norm::rms_norm(&added, &scale, 1e-6);
        let normed: Vec<f32> = normed.iter().map(|&x| x as f32).collect();
        let then = Then {
            bias: None,
            gelu: None,
            accumulate: None,
        };
        // As in the native twin: half the columns and 17 roundings more than a product's.
        let length = columns + columns / 2 + 17;
        let expected = bounds::linear(&twins::matvec::matvec(&normed, &w), length, outputs, then);
        assert_agrees(&format!("{precision:?}"), &actual, &expected);
    }
}

#[wasm_bindgen_test]
async fn attention_is_its_twin() {
    let gpu = open().await;
    let mut rng = Rng::new(2);
    let shape = Shape {
        heads: 4,
        kv_heads: 2,
        head_dim: 22,
        rows: 40,
        first: 33,
        prefix: 65,
        capacity: 75,
        scale: 0.25,
        cap: Some(5.0),
        window: Some(9),
    };
    let q = rng.numbers(shape.heads * shape.rows * shape.head_dim, 1.0);
    let cached = shape.kv_heads * shape.capacity * shape.head_dim;
    let (k, v) = (rng.numbers(cached, 2.0), rng.numbers(cached, 2.0));
    let cache = gpu
        .kv_cache(
            shape.kv_heads,
            shape.capacity,
            shape.head_dim,
            CachePrecision::F32,
        )
        .unwrap();
    gpu.write(&cache.keys, 0, &k).unwrap();
    gpu.write(&cache.values, 0, &v).unwrap();
    let q_gpu = gpu
        .queries(shape.heads, shape.rows, shape.head_dim)
        .unwrap();
    gpu.write(&q_gpu, 0, &q).unwrap();
    let span = upload::indices(&gpu, &[shape.first as u32, shape.prefix as u32]);
    let width = shape.heads * shape.head_dim;
    let how = Attention {
        heads: shape.heads,
        scale: shape.scale,
        soft_cap: shape.cap,
        window: shape.window,
    };
    let expected = attention::attention(&shape, &q, &k, &v);
    let expected = bounds::attention(&expected, shape.head_dim, shape.cap);
    for serial in [true, false] {
        gpu.set_serial(serial);
        let y = upload::tensor(&gpu, width, &vec![f32::NAN; shape.rows * width]);
        gpu.submit(&record(&gpu, |r| {
            r.attention(&q_gpu, &cache, &span, how, &y);
        }));
        let actual = gpu.read_tensor(&y).await.unwrap();
        assert_agrees(&format!("serial {serial}"), &actual, &expected);
    }
}

/// A step of decoding: every precision of the cache, its keys in one go and shared out.
#[wasm_bindgen_test]
async fn decode_attention_is_its_twin() {
    let gpu = open().await;
    let mut rng = Rng::new(3);
    let shape = Shape {
        heads: 4,
        kv_heads: 2,
        head_dim: 22,
        rows: 1,
        first: 70,
        prefix: 33,
        capacity: 75,
        scale: 0.25,
        cap: Some(5.0),
        window: Some(60),
    };
    let mut numbers = |count: usize| -> Vec<f32> {
        let mut all = rng.numbers(count, 2.0);
        for_every_cache(&mut all, shape.head_dim, count);
        all
    };
    let cached = shape.kv_heads * shape.capacity * shape.head_dim;
    let (mut k, mut v) = (numbers(cached), numbers(cached));
    let x = numbers((shape.heads + 2 * shape.kv_heads) * shape.head_dim);
    let (heads, kv_width) = (
        shape.heads * shape.head_dim,
        shape.kv_heads * shape.head_dim,
    );
    let before = [k.clone(), v.clone()];
    for (cache, own) in [(&mut k, &x[heads..]), (&mut v, &x[heads + kv_width..])] {
        for (head, own) in own.chunks(shape.head_dim).take(shape.kv_heads).enumerate() {
            let at = (head * shape.capacity + shape.first) * shape.head_dim;
            cache[at..at + shape.head_dim].copy_from_slice(own);
        }
    }
    let expected = attention::attention(&shape, &x[..heads], &k, &v);
    let expected = bounds::attention(&expected, shape.head_dim, shape.cap);
    let x_gpu = upload::tensor(&gpu, x.len(), &x);
    let span = upload::indices(&gpu, &[shape.first as u32, shape.prefix as u32]);
    let layout = Heads {
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_dim: shape.head_dim,
        rotary: None,
    };
    let how = Attention {
        heads: shape.heads,
        scale: shape.scale,
        soft_cap: shape.cap,
        window: shape.window,
    };
    for precision in [
        CachePrecision::F32,
        CachePrecision::F16,
        CachePrecision::Int8,
    ] {
        for (parts, serial) in [(1, true), (1, false), (3, true), (3, false)] {
            gpu.set_serial(serial);
            let cache = gpu
                .kv_cache(shape.kv_heads, shape.capacity, shape.head_dim, precision)
                .unwrap();
            gpu.write_cache(&cache, [&before[0], &before[1]]).unwrap();
            let y = upload::tensor(&gpu, heads, &vec![f32::NAN; heads]);
            gpu.submit(&record(&gpu, |r| {
                r.decode_attention_in(parts, &x_gpu, layout, &cache, &span, how, &y);
            }));
            let actual = gpu.read_tensor(&y).await.unwrap();
            let what = format!("{precision:?} in {parts} parts, serial {serial}");
            assert_agrees(&what, &actual, &expected);
            let [keys, values] = gpu.read_cache(&cache, shape.capacity).await.unwrap();
            assert_eq!((keys, values), (k.clone(), v.clone()), "{what}");
        }
    }
}

#[wasm_bindgen_test]
async fn argmax_is_its_twin() {
    let gpu = open().await;
    let mut rng = Rng::new(3);
    for (length, serial) in [1, 65, 2049, 257_216]
        .into_iter()
        .flat_map(|length| [(length, true), (length, false)])
    {
        gpu.set_serial(serial);
        let mut logits = rng.numbers(length, 9.0);
        let (token, span) = (
            upload::indices(&gpu, &[7]),
            upload::indices(&gpu, &[70, 60]),
        );
        logits[0] = f32::NAN;
        logits[length / 2] = 10.0;
        logits[length - 1] = 10.0;
        let allowed = length - length / 4;
        let tensor = upload::tensor(&gpu, length, &logits);
        let (ids, spans) = (gpu.readback(1).unwrap(), gpu.readback(2).unwrap());
        gpu.submit(&record(&gpu, |r| {
            r.argmax(&tensor, allowed, &token, &span, 5);
            r.copy_back(&token, &ids);
            r.copy_back(&span, &spans);
        }));
        let expected = twins::argmax::argmax(&logits[..allowed]);
        let expected = expected.map_or(u32::MAX, |id| id as u32);
        assert_eq!(gpu.read(&ids).await.unwrap(), [expected], "{length}");
        assert_eq!(gpu.read(&spans).await.unwrap(), [75, 60]);
    }
}
